"""`report.html` of an evaluation: figures with intervals, and example responses of every kind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from touchstone_rewards.trainer.evaluation.write import SUMMARY, read_results, with_interval
from touchstone_rewards.trainer.running.page import GroupExample, Table, readable, render_page
from touchstone_rewards.trainer.running.report import by_group, measures, shown

ROWS_SHOWN = 4
# The kinds of rows, in the order in which they are shown.
KINDS: tuple[str, ...] = ("right", "right in some responses", "wrong", "not scored")
# Entries of the summary that the page shows elsewhere.
SHOWN_ELSEWHERE = {"pass_at", "maj_at", "also", "generation", "results_path"}
SHOWN_ELSEWHERE |= {"accuracy", "format_rate", "avg_reward", "num_examples", "num_samples"}
SHOWN_ELSEWHERE |= {"accuracy_interval", "format_rate_interval", "avg_reward_interval"}


def write_page(folder: Path) -> Path:
    """Write `report.html` for the evaluation in `folder`; return its path."""
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    model = Path(str(summary.get("model") or folder)).name
    page = render_page(
        title=f"Evaluation of {model}",
        subtitle=f"{summary.get('dataset')} · profile {summary['profile']}",
        tiles=tiles(summary),
        measures=measures({model: folder}),
        tables=[at_k(summary)] if summary.get("pass_at") else [],
        groups=groups(read_results(folder)),
        groups_title="Responses of every kind",
        settings=[
            (name, readable(value), False)
            for name, value in (summary.get("generation") or {}).items()
            if value is not None
        ],
        facts=[
            (name, readable(value))
            for name, value in summary.items()
            if name not in SHOWN_ELSEWHERE and value is not None
        ],
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def tiles(summary: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the main figures of an evaluation."""
    found = []
    if summary["accuracy"] is not None:
        found.append(("right: the full reward of 1", f"{summary['accuracy']:.1%}"))
    if summary["format_rate"] is not None:
        found.append(("formatted", f"{summary['format_rate']:.1%}"))
    if summary["avg_reward"] is not None:
        found.append(("mean reward", f"{summary['avg_reward']:.3f}"))
    found.append(("rows", str(summary["num_examples"])))
    if summary["num_samples"] != summary["num_examples"]:
        found.append(("responses", str(summary["num_samples"])))
    return [*found, ("could not be scored", str(summary["num_failed"]))]


def at_k(summary: Mapping[str, Any]) -> Table:
    """Return pass@k and maj@k, one row per k."""
    rows = []
    for k, found in summary["pass_at"].items():
        voted = (summary.get("maj_at") or {}).get(k, {"value": None, "interval": None})
        cells = [with_interval(each["value"], each["interval"]) for each in (found, voted)]
        rows.append([f"k = {k}", *cells])
    return Table("Of k responses", ("", "pass@k", "maj@k"), rows, "Shares with 95% intervals.")


def groups(lines: Sequence[Mapping[str, object]]) -> list[GroupExample]:
    """Return the first rows of each kind."""
    kinds: dict[str, list[GroupExample]] = {kind: [] for kind in KINDS}
    every = by_group(lines)
    counts = dict.fromkeys(KINDS, 0)
    for group in every:
        kind = kind_of(group)
        counts[kind] += 1
        if len(kinds[kind]) < ROWS_SHOWN:
            kinds[kind].append(shown(kind, group))
    return [
        each._replace(label=f"{each.label} ({counts[kind]} of {len(every)} rows)")
        for kind in KINDS
        for each in islice(kinds[kind], ROWS_SHOWN)
    ]


def kind_of(group: Sequence[Mapping[str, object]]) -> str:
    """Classify a row by whether all, some or none of its responses got the full reward of 1."""
    rewards = [line["reward"] for line in group if line["reward"] is not None]
    if not rewards:
        return "not scored"
    right = rewards.count(1.0)
    return "right" if right == len(rewards) else "right in some responses" if right else "wrong"
