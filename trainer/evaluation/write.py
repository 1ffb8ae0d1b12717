"""Write the files and the table of an evaluation.

Files: `results.jsonl` (one line per response), `eval_results.json` (the same as a list of prompt,
completion, solution and reward), `summary.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from touchstone_rewards.clients import Sample, ScoreResult
from touchstone_rewards.trainer.rewards import error_of

RESULTS, SUMMARY, PLAIN_RESULTS = "results.jsonl", "summary.json", "eval_results.json"


def write_results(
    folder: Path,
    samples: Sequence[Sample],
    scored: Mapping[str, Sequence[ScoreResult | None]],
    plain_file: str | None = None,
) -> None:
    """Write both files of results; the plain list goes to `plain_file` or into the folder.

    The first profile in `scored` is the one that decides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        _line(sample, {name: results[place] for name, results in scored.items()})
        for place, sample in enumerate(samples)
    ]
    (folder / RESULTS).write_text("".join(map(_json_line, lines)), encoding="utf-8")
    plain = [
        {
            "prompt": line["prompt"],
            "completion": line["response"],
            "solution": line["ground_truth"],
            "reward": line["reward"],
        }
        for line in lines
    ]
    text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
    path = Path(plain_file) if plain_file else folder / PLAIN_RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of `results.jsonl`; empty if there is no such file."""
    path = folder / RESULTS
    if not path.is_file():
        return []
    # Not `splitlines`, which also splits at U+2028 and other characters that JSON strings may
    # contain.
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def write_summary(folder: Path, summary: Mapping[str, object]) -> None:
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def as_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table with one row per summary and one per further profile.

    It fits 80 columns: long names are wrapped.
    """
    table = _table("share and 95% interval", "", "profile", "right", "formatted", "scored")
    for name, summary in summaries.items():
        for profile, row in {summary["profile"]: summary, **summary["also"]}.items():
            table.add_row(
                name if row is summary else "",
                profile,
                with_interval(row["accuracy"], row["accuracy_interval"]),
                with_interval(row["format_rate"], row["format_rate_interval"]),
                f"{row['num_samples'] - row['num_failed']} of {row['num_samples']}",
            )
    return table


def at_k_table(summary: Mapping[str, Any]) -> Table:
    """Return pass@k and maj@k, one row per k."""
    table = _table("of k responses, and 95% interval", "k", "pass@k", "maj@k")
    for k, found in summary["pass_at"].items():
        voted = (summary.get("maj_at") or {}).get(k, {"value": None, "interval": None})
        cells = [with_interval(each["value"], each["interval"]) for each in (found, voted)]
        table.add_row(k, *cells)
    return table


def _table(title: str, *heads: str) -> Table:
    """Return an empty table in which names may wrap, but figures stay on one line."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = False
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head not in ("", "profile"))
    return table


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """Format a share in percent with its interval; `-` for None."""
    if value is None:
        return "-"
    return f"{value:.1%}" + (
        f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    )


def _line(sample: Sample, results: Mapping[str, ScoreResult | None]) -> dict[str, object]:
    first, *others = results
    result = results[first]
    return {
        "id": sample.id,
        "group": sample.group_id,
        "prompt": sample.prompt,
        "response": sample.response,
        "ground_truth": sample.ground_truth,
        "reward": result.reward if result else None,
        "scores": result.scores if result else {},
        "status": result.status if result else "error",
        "error": error_of(result),
        "also": {name: other.reward if (other := results[name]) else None for name in others},
    }


def _json_line(content: Mapping[str, object]) -> str:
    return json.dumps(content) + "\n"
