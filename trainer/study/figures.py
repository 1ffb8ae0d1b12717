"""Curves of many runs in, figures with intervals and plain verdicts out. It reads one kind of file.

In: run folders of `trainer grpo` with a curve of held-out accuracy. Out: a mapping that is written
as `study.json` as it stands. Intervals are over seeds; comparisons are paired by seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.running.intervals import student
from touchstone_rewards.trainer.running.plots import series
from touchstone_rewards.trainer.study.settings import Comparison

ACCURACY, FORMAT = "eval_held_out/accuracy", "eval_held_out/format_rate"


class Curve(NamedTuple):
    """Held-out accuracy and format rate of one run, after so many rollouts; None: no such score."""

    rollouts: list[float]
    accuracy: list[float]
    format_rate: list[float | None]


# What is compared: of a run, one number.
MEASURES: dict[str, str] = {
    "final": "accuracy at the end",
    "whole_run": "mean accuracy over the run: how fast it rose, and whether it fell again",
}


def read_curve(folder: Path, updates_a_rollout: int) -> Curve:
    """The curve of a run, from its `trainer_state.json`.

    Raises:
        RunFailed: the run was never measured.
    """
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    points = series(state["log_history"], ACCURACY)
    if not points:
        raise RunFailed(f"{folder} has no measurement: not one held-out response could be scored")
    formats = dict(series(state["log_history"], FORMAT))
    return Curve(
        [step / updates_a_rollout for step, _ in points],
        [value for _, value in points],
        [formats.get(step) for step, _ in points],
    )


def measures(curve: Curve) -> dict[str, float]:
    """The numbers of MEASURES, of one run."""
    after = curve.accuracy[1:] or curve.accuracy
    return {"final": curve.accuracy[-1], "whole_run": fmean(after)}


def summarize(
    curves: Mapping[str, Mapping[int, Curve]], comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """Every setting and every comparison with means and 95% intervals, and what they support."""
    seeds = sorted(next(iter(curves.values())))
    compared = [compare(each, curves, measure) for each in comparisons for measure in MEASURES]
    return {
        "seeds": seeds,
        "settings": {name: of_setting(runs) for name, runs in curves.items()},
        "comparisons": compared,
        "evidence": evidence(compared, len(seeds)),
    }


def of_setting(runs: Mapping[int, Curve]) -> dict[str, Any]:
    """One setting: each measure by seed, its mean and interval, the best point, and the curves."""
    found: dict[str, Any] = {}
    for measure in MEASURES:
        values = [measures(curve)[measure] for curve in runs.values()]
        found[measure] = {"mean": fmean(values), "interval": student(values), "by_seed": values}
    best = [max(zip(c.accuracy, c.rollouts, strict=True)) for c in runs.values()]
    found["best"] = {"accuracy": [b for b, _ in best], "at_rollout": [at for _, at in best]}
    formats = [rate for curve in runs.values() if (rate := curve.format_rate[-1]) is not None]
    found["final_format_rate"] = fmean(formats) if formats else None
    found["curves"] = {str(seed): curve._asdict() for seed, curve in runs.items()}
    return found


def compare(
    comparison: Comparison, curves: Mapping[str, Mapping[int, Curve]], measure: str
) -> dict[str, Any]:
    """Two settings by one measure: the difference of the two runs of each seed."""
    this, other = curves[comparison.this], curves[comparison.other]
    differences = [measures(this[seed])[measure] - measures(other[seed])[measure] for seed in this]
    interval = student(differences)
    return {
        **comparison._asdict(),
        "measure": measure,
        "difference": fmean(differences),
        "interval": interval,
        "by_seed": differences,
        "apart": interval is not None and (interval.low > 0 or interval.high < 0),
    }


def evidence(compared: Sequence[Mapping[str, Any]], seeds: int) -> list[str]:
    """What the intervals support, one line a comparison and measure, and what they cannot say."""
    lines = [verdict(each, seeds) for each in compared]
    if seeds > 1:
        chance = 1 - 0.95 ** len(compared)
        lines.append(
            f"These are {len(compared)} comparisons at 95%: were there no difference anywhere, and "
            f"were they independent, one or more would show one in {chance:.0%} of such studies."
        )
    return lines


def verdict(compared: Mapping[str, Any], seeds: int) -> str:
    """One comparison in words."""
    this, other, difference = compared["this"], compared["other"], compared["difference"]
    what = f"{compared['question']}, {MEASURES[compared['measure']].partition(':')[0]}"
    if compared["interval"] is None:
        return f"{what}: one seed supports nothing; the difference was {difference:+.3f}."
    low, high = compared["interval"]
    shown = f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    if compared["apart"]:
        better, worse = (this, other) if difference > 0 else (other, this)
        return f"{what}: `{better}` is higher than `{worse}`; {this} minus {other} is {shown}."
    ahead = sum(each > 0 for each in compared["by_seed"])
    return (
        f"{what}: `{this}` and `{other}` cannot be told apart at these {seeds} seeds; "
        f"{this} minus {other} is {shown}, above 0 in {ahead} of {seeds}."
    )
