"""What a run of the workflow means, in plain words: from the held-out rows of every model.

In: of each model, which held-out rows it got right. Out: a few sentences. One run of each says
nothing about other seeds, and the sentences say so.
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
    """The share of right responses of each held-out row, from a folder of `trainer eval`."""
    return full_reward_share(read_results(folder))


def in_words(measured: Mapping[str, MeasuredRates], sizes: Mapping[str, int]) -> str:
    """Return what the models' held-out rows show, and what they do not.

    `measured`: by model (`start`, `full`, `lim`, ...). `sizes`: prompts of each selection.
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
        "- This is one run of each. The intervals are over held-out rows alone: another seed can "
        "turn the order round, so nothing here is a claim about LIM. docs/limr.md has three seeds."
    )
    return "\n".join(lines)


def _gain(start: MeasuredRates, full: MeasuredRates) -> str:
    found = difference([full], [start])
    shares = f"{_share(start)} of the held-out rows right before, {_share(full)} after"
    if not found.is_apart:
        return f"PPO on all prompts changed nothing that can be told from chance: {shares}."
    word = "helped" if found.mean > 0 else "did harm"
    return f"PPO on all prompts {word}: {shares} ({_points(found)})."


def _compared(this: str, other: str, found: Estimate) -> str:
    if found.interval is None:
        return f"too few held-out rows to hold {this} against {other}."
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
