"""One self-contained HTML page a run: curves, measures, samples, what was run.

In: a run folder (`trainer_state.json`, `run.json`, `samples/`) and, if there are any, evaluation
folders. Out: `curves.png` and `report.html` in the run folder. What is missing is left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from touchstone_rewards.trainer.data.kept_samples import KeptSample, read_samples, step_files
from touchstone_rewards.trainer.running.plots import DARK, LIGHT, History, draw_curves, series
from touchstone_rewards.trainer.running.provenance import RUN_FILE

TEMPLATE = Path(__file__).parents[1] / "templates" / "report.html"
PAIRS_SHOWN = 8
KEPT_SHOWN = 4
TURNS_SHOWN = 3
HELD_OUT = {
    "eval_accuracy": "held-out pairs ranked right",
    "eval_logps/accuracies": "held-out pairs, chosen preferred",
}


def write_report(
    folder: Path,
    *,
    title: str | None = None,
    story: Sequence[str] = (),
    evaluations: Mapping[str, Path] | None = None,
    output: Path | None = None,
) -> Path:
    """Draw the curves and write the page; returns the page's path.

    `evaluations`: name to folder of `trainer eval`; the first two are shown side by side. `output`:
    where the two files go, the run folder if not given.
    """
    output = output or folder
    run = _read_json(folder / RUN_FILE) or {}
    history: History = (_read_json(folder / "trainer_state.json") or {}).get("log_history", [])
    curves = {theme: draw_curves(history, theme) for theme in (LIGHT, DARK)} if history else {}
    if curves:
        (output / "curves.png").write_bytes(curves[LIGHT])
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title or f"{run.get('command', 'trainer').split(' --')[0]}: {folder.name}",
        subtitle=" · ".join(filter(None, [run.get("started"), run.get("machine")])),
        story=story,
        tiles=tiles(history),
        measures=measures(evaluations or {}),
        light=_as_base64(curves.get(LIGHT)),
        dark=_as_base64(curves.get(DARK)),
        pairs=pairs(list((evaluations or {}).values())),
        kept=_first_and_last(folder / "samples"),
        facts=facts(run),
        verdict=verdict,
        asked=asked,
    )
    path = output / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def tiles(history: History) -> list[tuple[str, str]]:
    """The few numbers that say how a run went."""
    found = []
    # The loss of a policy gradient says nothing by its size: where there is a reward, it is shown.
    key = "reward" if series(history, "reward") else "loss"
    values = [value for _, value in series(history, key)]
    if values:
        found.append((f"{key}, first to last", f"{values[0]:.2f} → {values[-1]:.2f}"))
    for key, name in HELD_OUT.items():
        if measured := series(history, key):
            found.append((name, f"{measured[-1][1]:.1%}"))
    if accuracies := [value for _, value in series(history, "eval_held_out/accuracy")]:
        shown = f"{accuracies[0]:.1%} → {accuracies[-1]:.1%}"
        found.append(("held-out accuracy, first to last", shown))
    found += _waiting(history)
    failed = mean_of(history, "rewards_failed_frac/")
    if failed is not None:
        found.append(("rewards that failed", f"{failed:.1%}"))
    last = max((int(row.get("step", 0)) for row in history), default=0)
    return [*found, ("updates", str(last))] if last else found


def _waiting(history: History) -> list[tuple[str, str]]:
    """How long training waited for rewards. TRL's `step_time` holds rollout and wait as well; an
    update over the samples of an earlier one waits for none."""
    waits = [value for _, value in series(history, "rewards_wait_s/")]
    steps = [value for _, value in series(history, "step_time")]
    if not waits or not sum(steps):
        return []
    share = sum(waits) / sum(steps)
    return [
        ("wait for rewards a rollout", f"{1000 * sum(waits) / len(waits):.0f} ms"),
        ("of the training time", f"{share:.1%}"),
    ]


def mean_of(history: History, key: str) -> float | None:
    """The mean of one key over a run, None where it was never logged."""
    values = [value for _, value in series(history, key)]
    return sum(values) / len(values) if values else None


def measures(evaluations: Mapping[str, Path]) -> list[dict[str, Any]]:
    """One row for each thing measured and each model, with its interval."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for model, folder in evaluations.items():
        summary = _read_json(folder / "summary.json") or {}
        wanted = [(summary, "accuracy", f"right, by {summary.get('profile')}")]
        wanted.append((summary, "format_rate", "formatted"))
        for other, more in summary.get("also", {}).items():
            wanted.append((more, "accuracy", f"right, by {other}"))
        for source, key, what in wanted:
            if interval := source.get(f"{key}_interval"):
                row = {"model": model, "what": what, "value": source[key]}
                row |= {"low": interval[0], "high": interval[1]}
                row |= {"failed": source["num_failed"], "rows": source["num_examples"]}
                rows.setdefault(what, []).append(row)
    return [row for what in rows.values() for row in what]


def pairs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of the first two evaluations side by side: every kind of change that there is."""
    if len(folders) < 2:
        return []
    before, after = (_read_lines(folder / "results.jsonl") for folder in folders[:2])
    later = {row["id"]: row for row in after}
    kinds: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for old in before:
        if new := later.get(old["id"]):
            kinds.setdefault((old["reward"], new["reward"]), []).append(
                {**old, "before": old, "after": new}
            )
    shown = max(1, PAIRS_SHOWN // max(1, len(kinds)))
    return [pair for kind in kinds.values() for pair in islice(kind, shown)]


def verdict(sample: Any) -> Markup:
    """Reward and scores of a sample as small labels; in a word why, where there is no reward."""
    row = sample if isinstance(sample, dict) else vars(sample)
    if row["reward"] is None:
        code = (row.get("error") or {}).get("code", "no reward")
        return Markup('<span class="tag bad">not scored: {}</span>').format(code)
    kind = "good" if row["reward"] >= 1 else "bad"
    labels = [(kind, f"reward {row['reward']:g}")]
    labels += [("soft", f"{k} {v:g}") for k, v in row["scores"].items() if v is not None]
    return Markup("").join(
        Markup('<span class="tag {}">{}</span>').format(css, text) for css, text in labels
    )


def asked(sample: KeptSample) -> str:
    """What a sample answers, for reading: a chat's last turns, of a story without what is told of
    the form."""
    prompt = sample.prompt
    if not isinstance(prompt, list):
        return str(prompt)
    history, turn = (sample.metadata.get(name) for name in ("conversation_history", "user_input"))
    if isinstance(history, list) and isinstance(turn, str):
        prompt = [*history, {"role": "user", "content": turn}]
    left_out = len(prompt) - TURNS_SHOWN
    lines = [f"[{left_out} earlier turns]"] if left_out > 0 else []
    return "\n".join(lines + [readable_turn(each) for each in prompt[-TURNS_SHOWN:]])


def readable_turn(turn: Mapping[str, Any]) -> str:
    return f"[{turn.get('role')}] {turn.get('content')}"


def facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`run.json` as rows of text: nested mappings one line an entry."""
    return [
        (
            name,
            "\n".join(f"{key}: {item}" for key, item in value.items())
            if isinstance(value, dict)
            else str(value),
        )
        for name, value in run.items()
        if value not in (None, {}, "")
    ]


def _first_and_last(folder: Path) -> list[Any]:
    files = step_files(folder)
    if not files:
        return []
    ends = [files[0], files[-1]] if len(files) > 1 else files
    return [sample for _, path in ends for sample in islice(read_samples(path), KEPT_SHOWN)]


def _as_base64(image: bytes | None) -> str:
    return base64.b64encode(image).decode() if image else ""


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
