"""The figures of a study: means with intervals per setting, comparisons, and verdicts in words.

Runs are folders of `trainer grpo` with held-out evaluations and their rows. The result is written
unchanged as `study.json`. Intervals are over held-out rows and seeds together; comparisons are
paired by both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from touchstone_rewards.trainer.data.kept_samples import HELD_OUT, read_samples, step_files
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.running.paired import LEAST_SEEDS, difference, estimate
from touchstone_rewards.trainer.running.plots import series
from touchstone_rewards.trainer.study.settings import Comparison

ACCURACY, FORMAT = "eval_held_out/accuracy", "eval_held_out/format_rate"


class Curve(NamedTuple):
    """Held-out accuracy and format rate of one run by number of rollouts; None: no such score."""

    rollouts: list[float]
    accuracy: list[float]
    format_rate: list[float | None]


# The measures that are compared: one number for each held-out row of a run.
MEASURES: dict[str, str] = {
    "final": "accuracy at the end",
    "whole_run": "mean accuracy over the run: reflects how fast it rose and whether it fell again",
}


class Run(NamedTuple):
    """One run: its curve and, for each of MEASURES, the value of every held-out row."""

    curve: Curve
    rows: dict[str, dict[str, float]]


def read_run(folder: Path, updates_a_rollout: int) -> Run:
    """Read a run's curve from its `trainer_state.json` and its rows from `samples/held_out`.

    Raises:
        RunFailed: the run has no evaluation, or lacks held-out rows.
    """
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    points = series(state["log_history"], ACCURACY)
    if not points:
        raise RunFailed(f"{folder} has no evaluation: no held-out response could be scored")
    formats = dict(series(state["log_history"], FORMAT))
    curve = Curve(
        [step / updates_a_rollout for step, _ in points],
        [value for _, value in points],
        [formats.get(step) for step, _ in points],
    )
    kept = dict(step_files(folder / "samples" / HELD_OUT))
    right = [right_rows(kept[step]) for step, _ in points if step in kept]
    if len(right) < len(points):
        raise RunFailed(
            f"{folder} has kept the held-out rows of {len(right)} of {len(points)} evaluations: "
            "remove it and run the study again"
        )
    return Run(curve, rows_by_measure(right))


def right_rows(path: Path) -> dict[str, float]:
    """Return 1 for each held-out row with the full reward of 1 in one evaluation, else 0.

    Rows without a reward are left out; if a row was evaluated twice, the last result counts.
    """
    rewards = {sample.group: sample.reward for sample in read_samples(path)}
    return {name: float(reward == 1) for name, reward in rewards.items() if reward is not None}


def rows_by_measure(right: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the numbers of MEASURES for each row; the first evaluation is before training."""
    after = right[1:] or right
    everywhere = [name for name in after[0] if all(name in each for each in after)]
    return {
        "final": dict(right[-1]),
        "whole_run": {name: fmean(each[name] for each in after) for name in everywhere},
    }


def summarize(
    runs: Mapping[str, Mapping[int, Run]], comparisons: Sequence[Comparison]
) -> dict[str, object]:
    """Return all settings and comparisons with means, 95% intervals and verdicts."""
    seeds = sorted(next(iter(runs.values())))
    compared = [compare(each, runs, measure) for each in comparisons for measure in MEASURES]
    return {
        "seeds": seeds,
        "settings": {name: of_setting(by_seed) for name, by_seed in runs.items()},
        "comparisons": compared,
        "evidence": evidence(compared, len(seeds)),
    }


def of_setting(runs: Mapping[int, Run]) -> dict[str, object]:
    """Return one setting's measures by seed with mean and interval, its best points, and its
    curves."""
    found: dict[str, object] = {}
    for measure in MEASURES:
        mean, interval, by_seed, rows = estimate([run.rows[measure] for run in runs.values()])
        found[measure] = {"mean": mean, "interval": interval, "by_seed": by_seed, "rows": rows}
    curves = {seed: run.curve for seed, run in runs.items()}
    best = [max(zip(c.accuracy, c.rollouts, strict=True)) for c in curves.values()]
    found["best"] = {"accuracy": [b for b, _ in best], "at_rollout": [at for _, at in best]}
    formats = [rate for curve in curves.values() if (rate := curve.format_rate[-1]) is not None]
    found["final_format_rate"] = fmean(formats) if formats else None
    found["curves"] = {str(seed): curve._asdict() for seed, curve in curves.items()}
    return found


def compare(
    comparison: Comparison, runs: Mapping[str, Mapping[int, Run]], measure: str
) -> dict[str, object]:
    """Compare two settings by one measure, from the row-by-row differences of each seed's two runs.

    They are told apart if 0 is outside the interval and there are at least three seeds.
    """
    this, other = (
        [run.rows[measure] for run in runs[name].values()]
        for name in (comparison.this, comparison.other)
    )
    found = difference(this, other)
    return {
        **comparison._asdict(),
        "measure": measure,
        "difference": found.mean,
        "interval": found.interval,
        "by_seed": found.by_seed,
        "rows": found.rows,
        "apart": found.is_apart and len(this) >= LEAST_SEEDS,
    }


def evidence(compared: Sequence[Mapping[str, object]], seeds: int) -> list[str]:
    """Return one line per comparison and measure, and a line about multiple comparisons."""
    lines = [verdict(each, seeds) for each in compared]
    if seeds >= LEAST_SEEDS:
        chance = 1 - 0.95 ** len(compared)
        lines.append(
            f"These are {len(compared)} comparisons at 95%. If there were no differences and the "
            f"comparisons were independent, {chance:.0%} of such studies would still show at least "
            "one."
        )
    return lines


def verdict(compared: Mapping[str, Any], seeds: int) -> str:
    """Return one comparison in words."""
    this, other, difference = compared["this"], compared["other"], compared["difference"]
    what = f"{compared['question']}, {MEASURES[compared['measure']].partition(':')[0]}"
    if compared["interval"] is None:
        return f"{what}: one held-out row supports no claim; the difference was {difference:+.3f}."
    low, high = compared["interval"]
    shown = f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    if seeds < LEAST_SEEDS:
        number = "one seed supports" if seeds == 1 else f"{seeds} seeds support"
        return f"{what}: {number} no claim; {this} minus {other} was {shown}."
    if compared["apart"]:
        better, worse = (this, other) if difference > 0 else (other, this)
        return f"{what}: `{better}` is higher than `{worse}`; {this} minus {other} is {shown}."
    ahead = sum(each > 0 for each in compared["by_seed"])
    return (
        f"{what}: `{this}` and `{other}` cannot be told apart at these {seeds} seeds; "
        f"{this} minus {other} is {shown}, above 0 in {ahead} of {seeds}."
    )
