"""RewardBench 2: right responses ranked against wrong ones, by subset.

Rows have `prompt`, `chosen` and `rejected` (lists of texts), `subset`, and scores. The functions
return the share of each subset, and the weighted score of Ties. Pure: no model, no files.

Source: RewardBench 2 (arXiv 2506.01937); allenai/reward-bench 05a9005, scripts/run_v2.py and
rewardbench/utils.py (`reroll_and_score_dataset`, `process_single_model`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.ranking import percent
from touchstone_rewards.trainer.running.intervals import rate

TIES = "ties"
WHOLE = "all"  # the subset of rows that name none
# Weights of the Ties score: all right above all wrong in tied prompts; the same in reference
# prompts; the right ones closer to each other than to the wrong ones, in the tied prompt; the same
# with the smaller gap of both prompts; how much closer.
TIES_WEIGHTS = (0.30, 0.30, 0.20, 0.20, 0.01)


class Choice(NamedTuple):
    """One prompt with the scores of its right and wrong responses."""

    id: str
    subset: str
    chosen: Sequence[float]
    rejected: Sequence[float]


class TiesMargins(NamedTuple):
    """Score differences in one prompt: `gap` from the best wrong response to the worst right one,
    `spread` from the worst right response to the best."""

    gap: float
    spread: float


def is_best_of(rows: Dataset) -> bool:
    """Return whether the sides of these rows are lists of texts."""
    first: Any = rows[0]
    sides = [first.get(name) for name in ("chosen", "rejected")]
    return all(
        isinstance(side, list) and bool(side) and all(isinstance(each, str) for each in side)
        for side in sides
    )


def best_of(choices: Sequence[Choice]) -> dict[str, Any]:
    """Return the share of prompts with a right response on top, by subset, and the mean over
    subsets.

    Responses with equal top scores share the point. `chance` is the share for random choice. The
    subset Ties gets the benchmark's weighted score, which is not a share and has no interval.

    Example: with scores `[2.0]` against `[1.0, 2.0, 0.0]` the point is shared, 0.5.

    Raises:
        InputError: the id of a row of Ties is not `ref:N` or `tied:N`.
    """
    names = sorted({each.subset for each in choices})
    rows = [_subset(name, [each for each in choices if each.subset == name]) for name in names]
    return {"prompts": len(choices), "mean": fmean(row["score"] for row in rows), "subsets": rows}


def told_best_of(figures: Mapping[str, Any]) -> list[str]:
    """Return the figures as lines of text."""
    width = max(len(row["subset"]) for row in figures["subsets"])
    lines = [
        f"  {row['subset']:<{width}} {row['prompts']:>5} prompts  "
        f"{percent(row['score'], row['interval'])}"
        + (f"  by chance {row['chance']:.1%}" if row["chance"] is not None else "  weighted score")
        for row in figures["subsets"]
    ]
    return [
        f"{figures['prompts']} prompts, a right response above the wrong ones:",
        *lines,
        f"  {'mean':<{width}} of {len(lines)} subsets  {figures['mean']:.1%}",
    ]


def _subset(name: str, choices: Sequence[Choice]) -> dict[str, Any]:
    about = {"subset": name, "prompts": len(choices)}
    if name.lower() == TIES:
        return {**about, "score": ties_score(choices), "interval": None, "chance": None}
    points = [point(each) for each in choices]
    chance = fmean(len(each.chosen) / (len(each.chosen) + len(each.rejected)) for each in choices)
    interval = rate(points, len(points))
    return {**about, "score": fmean(points), "interval": interval, "chance": chance}


def point(choice: Choice) -> float:
    """Return 1 if a right response is on top, 0 if a wrong one is, the right share if they are
    equal."""
    top = max(*choice.chosen, *choice.rejected)
    right, wrong = choice.chosen.count(top), choice.rejected.count(top)
    return right / (right + wrong)


def ties_score(choices: Sequence[Choice]) -> float:
    """Return the weighted score of prompts with many right answers, each paired with a reference
    prompt that has one right answer.

    Raises:
        InputError: an id is not `ref:N` or `tied:N`.
    """
    kinds: dict[str, dict[str, TiesMargins]] = {"ref": {}, "tied": {}}
    for each in choices:
        kind, _, number = each.id.partition(":")
        if kind not in kinds or not number:
            raise InputError(f"row {each.id!r} of the subset Ties: its id must be ref:N or tied:N")
        gap = min(each.chosen) - max(each.rejected)
        kinds[kind][number] = TiesMargins(gap, max(each.chosen) - min(each.chosen))
    ref, tied = kinds["ref"], kinds["tied"]
    both = [(tied[number], ref[number].gap) for number in tied if number in ref]
    parts = (
        _mean([one.gap > 0 for one in tied.values()]),
        _mean([one.gap > 0 for one in ref.values()]),
        _mean([one.gap > one.spread for one, _ in both]),
        _mean([min(one.gap, gap) > one.spread for one, gap in both]),
        _mean([_closeness(min(one.gap, gap), one.spread) for one, gap in both]),
    )
    return math.fsum(weight * part for weight, part in zip(TIES_WEIGHTS, parts, strict=True))


def _closeness(gap: float, spread: float) -> float:
    """Return tanh(gap / spread - 1), from -1 to 1; without a spread, the sign of the gap."""
    if spread == 0:
        return 0.0 if gap == 0 else math.copysign(1.0, gap)
    return math.tanh(gap / spread - 1)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
