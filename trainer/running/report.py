"""The report of a run: one self-contained HTML page with curves, measures, samples and settings.

It reads a run folder (`trainer_state.json`, `run.json`, `samples/`) and, if given, evaluation
folders, and writes `curves.png` and `report.html` into the run folder. Missing parts are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from touchstone_rewards.trainer.data.kept_samples import read_samples, step_files
from touchstone_rewards.trainer.running.page import GroupExample, panels_of, readable, render_page
from touchstone_rewards.trainer.running.plots import History, draw_curves, drawings_of, series
from touchstone_rewards.trainer.running.provenance import DECISIVE, RUN_FILE

PAIRS_SHOWN = 8
GROUPS_SHOWN = 3
OBJECTS = ("accelerator_config",)  # cannot be set as shown
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
    **parts: object,
) -> Path:
    """Draw the curves and write the page; return the page's path.

    `evaluations` maps names to folders of `trainer eval`; the first two are compared row by row.
    `output` is the folder for the two files, by default the run folder. `parts` replace the page's
    own parts.
    """
    output = output or folder
    run, history = read_run_file(folder), read_history(folder)
    drawings, zero = drawings_of(history)
    if drawings:
        (output / "curves.png").write_bytes(draw_curves(history))
    shown = {
        "title": title or f"{run.get('command', 'trainer').split(' --')[0]}: {folder.name}",
        "subtitle": " · ".join(filter(None, [run.get("started"), run.get("machine")])),
        "story": story,
        "tiles": tiles(history),
        "measures": measures(evaluations or {}),
        "panels": panels_of(drawings),
        "zero": zero,
        "pairs": pairs(list((evaluations or {}).values())),
        "groups": first_and_last(folder / "samples"),
        "groups_title": "From the samples that were trained on",
        "settings": settings_of(run),
        "facts": facts(run),
    }
    page = render_page(**(shown | parts))
    path = output / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def read_run_file(folder: Path) -> dict[str, Any]:
    """Return the `run.json` of a run; empty if there is none."""
    return _read_json(folder / RUN_FILE) or {}


def read_history(folder: Path) -> History:
    """Return the log history of a run; empty if there is none."""
    return (_read_json(folder / "trainer_state.json") or {}).get("log_history", [])


def tiles(history: History) -> list[tuple[str, str]]:
    """Return the main figures of a run."""
    found = []
    # The size of a policy-gradient loss means little, so the reward is shown if there is one.
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
    cut = mean_of(history, "completions/clipped_ratio")
    if cut is not None:
        found.append(("responses cut off", f"{cut:.1%}"))
    last = last_step(history)
    return [*found, ("updates", str(last))] if last else found


def last_step(history: History) -> int:
    """Return the number of updates that a run has made."""
    return max((int(row.get("step", 0)) for row in history), default=0)


def _waiting(history: History) -> list[tuple[str, str]]:
    """Return how long training waited for rewards.

    TRL's `step_time` includes rollout and wait. An update that reuses earlier samples does not
    wait.
    """
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
    """Return the mean of one key over a run; None if it was never logged."""
    values = [value for _, value in series(history, key)]
    return sum(values) / len(values) if values else None


def measures(evaluations: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return one row per measure and model, with its interval."""
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
                row |= {"failed": source["num_failed"], "samples": source["num_samples"]}
                rows.setdefault(what, []).append(row)
    return [row for what in rows.values() for row in what]


def pairs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return rows of the first two evaluations side by side, with every kind of change that
    occurs."""
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


def first_and_last(folder: Path) -> list[GroupExample]:
    """Return example groups of the first and last stored steps: worst, median and best mean
    reward."""
    files = step_files(folder)
    ends = [files[0], files[-1]] if len(files) > 1 else files
    found = []
    for step, path in ends:
        rows = (vars(sample) for sample in read_samples(path))
        groups = sorted(by_group(rows), key=mean_reward)
        last = len(groups) - 1
        places = sorted({round(last * n / (GROUPS_SHOWN - 1)) for n in range(GROUPS_SHOWN)})
        found += [shown(f"step {step}", groups[place]) for place in places]
    return found


def by_group(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group samples by dataset row."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"] or row["id"], []).append(row)
    return list(groups.values())


def mean_reward(group: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean of a group's rewards; minus infinity if it has none."""
    rewards = [row["reward"] for row in group if row["reward"] is not None]
    return fmean(rewards) if rewards else float("-inf")


def shown(label: str, group: Sequence[Mapping[str, Any]]) -> GroupExample:
    """Return the best and the worst response of a group, with a label."""
    scored = [row for row in group if row["reward"] is not None]
    ranked = sorted(scored, key=lambda row: row["reward"]) or list(group)
    ends = ranked[:1] if ranked[0]["reward"] == ranked[-1]["reward"] else [ranked[-1], ranked[0]]
    name = group[0]["group"] or group[0]["id"]
    label = f"{label} · row {name}"
    if len(group) > 1:
        label += f" · {len(group)} responses"
        label += f", mean reward {mean_reward(group):.2f}" if scored else ", none scored"
        label += ": the best and the worst" if len(ends) > 1 else ", all equal: one of them"
    return GroupExample(label, ends)


def settings_of(run: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return every changed field, and important fields left at their defaults."""
    given, defaults = run.get("fields") or {}, dict(run.get("defaults") or {})
    if not given.get("use_peft"):
        defaults = {name: value for name, value in defaults.items() if name[:5] != "lora_"}
    names = [name for name in DECISIVE if name in given or name in defaults]
    names += [name for name in given if name not in (*DECISIVE, *OBJECTS)]
    return [
        (name, readable({**defaults, **given}[name]), name not in given and name in defaults)
        for name in names
    ]


def facts(run: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return `run.json` without its fields as rows of text; nested mappings have one line per
    entry."""
    return [
        (
            name,
            "\n".join(f"{key}: {item}" for key, item in value.items())
            if isinstance(value, dict)
            else str(value),
        )
        for name, value in run.items()
        if value not in (None, {}, "") and name not in ("fields", "defaults")
    ]


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _read_lines(path: Path) -> list[dict[str, object]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
