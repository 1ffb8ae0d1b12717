"""Summarize a run of the workflow in plain words, from each model's right answers on held-out rows.

With one run per model nothing can be said about other seeds; the summary says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from touchstone_rewards.trainer.evaluation.figures import full_reward_share
from touchstone_rewards.trainer.evaluation.write import read_results
from touchstone_rewards.trainer.running.paired import Estimate, difference

MeasuredRates = Mapping[str, float]
TRAINED_ON = {
    "full": "all prompts",
    "lim": "LIM's {size} prompts",
    "random": "{size} prompts at random",
    "linear": "{size} prompts by LINEAR",
}


def read_measured(folder: Path) -> dict[str, float]:
    """Return each held-out row's share of right responses, from a folder of `trainer eval`."""
    return full_reward_share(read_results(folder))


def in_words(measured: Mapping[str, MeasuredRates], sizes: Mapping[str, int]) -> str:
    """Return in words what the held-out rows show about the models, and the limits of that.

    `measured` has the rows of each model (`start`, `full`, `lim`, ...), `sizes` the number of
    prompts of each selection.
    """
    names = {name: TRAINED_ON.get(name, name).format(size=sizes.get(name, 0)) for name in measured}
    lines = ["What this means:"]
    if "start" in measured and "full" in measured:
        lines.append(f"- {_gain(measured['start'], measured['full'])}")
    if "lim" in measured and "full" in measured:
        found = difference([measured["lim"]], [measured["full"]])
        lines.append(f"- Less data: {_compared(names['lim'], names['full'], found)}")
    for other in [name for name in measured if name in ("random", "linear")]:
        found = difference([measured["lim"]], [measured[other]])
        lines.append(f"- The choice: {_compared(names['lim'], names[other], found)}")
    lines.append(
        "- There is one run per model, and intervals cover held-out rows only: another seed can "
        "reverse the order, so this is not evidence about LIM. docs/limr.md has three seeds."
    )
    return "\n".join(lines)


def _gain(start: MeasuredRates, full: MeasuredRates) -> str:
    found = difference([full], [start])
    shares = f"{_share(start)} of the held-out rows right before, {_share(full)} after"
    if not found.is_apart:
        return f"PPO on all prompts made no difference beyond chance: {shares}."
    word = "helped" if found.mean > 0 else "did harm"
    return f"PPO on all prompts {word}: {shares} ({_points(found)})."


def _compared(this: str, other: str, found: Estimate) -> str:
    if found.interval is None:
        return f"too few held-out rows to compare {this} with {other}."
    if not found.is_apart:
        return (
            f"{this} and {other} cannot be told apart on these {found.rows} rows "
            f"({_points(found)})."
        )
    word = "better" if found.mean > 0 else "worse"
    return f"{this} did {word} than {other} in this run ({_points(found)})."


def _share(rows: MeasuredRates) -> str:
    return f"{fmean(rows.values()):.1%}" if rows else "none"


def _points(found: Estimate) -> str:
    text = f"{100 * found.mean:+.1f} points"
    if found.interval is not None:
        low, high = found.interval
        text += f", 95% interval {100 * low:+.1f} to {100 * high:+.1f}"
    return text
