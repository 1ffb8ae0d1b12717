"""The figures of the demo: shares with intervals, by kind of problem, and the chosen checkpoint.

Pure functions of the lines of `results.jsonl` and the log history of a run; the results go to the
page, the screen and `result.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.running.intervals import rate
from touchstone_rewards.trainer.running.plots import History

NUMBER = "number"  # the profile that checks whether a response is a number
ACCURACY = "eval_held_out/accuracy"


class Proportion(NamedTuple):
    """A share of `rows` rows with its 95% interval; 0.0 without rows."""

    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        return f"{self.value:.1%} [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def is_above(self, other: Proportion) -> bool:
        """Return whether this interval lies entirely above the other."""
        return self.low > other.high


def share(hits: Sequence[bool]) -> Proportion:
    """Return the share of hits.

    >>> str(share([True, False]))
    '50.0% [1.3, 98.7]'
    """
    interval = rate([float(each) for each in hits], len(hits))
    if interval is None:
        return Proportion(0.0, 0.0, 1.0, 0)
    return Proportion(sum(hits) / len(hits), *interval, len(hits))


class MeasuredShares(NamedTuple):
    """Shares of the problems of an evaluation: right answers, answers that are a number, and right
    answers among those."""

    right: Proportion
    number: Proportion
    right_of_numbers: Proportion

    def as_data(self) -> dict[str, dict[str, float]]:
        """Return the shares by name, for a JSON file."""
        return {name: each._asdict() for name, each in self._asdict().items()}


def measured(lines: Iterable[Mapping[str, Any]]) -> MeasuredShares:
    """Return the shares over these lines, without the lines that could not be scored."""
    scored = [line for line in lines if line["reward"] is not None]
    right = [line["reward"] == 1.0 for line in scored]
    number = [line["also"][NUMBER] == 1.0 for line in scored]
    among = [hit for hit, is_number in zip(right, number, strict=True) if is_number]
    return MeasuredShares(share(right), share(number), share(among))


def by_kind(lines: Iterable[Mapping[str, Any]]) -> dict[str, MeasuredShares]:
    """Return the shares for each kind of problem, taken from the first part of its id."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        kinds.setdefault(line["id"].split("-")[0], []).append(line)
    return {kind: measured(own) for kind, own in kinds.items()}


def validation_of(history: History) -> dict[int, float]:
    """Return the share of right validation problems after each update that was measured."""
    return {int(row["step"]): float(row[ACCURACY]) for row in history if ACCURACY in row}


def chosen_step(validation: Mapping[int, float]) -> int:
    """Return the first update with the highest share of right validation problems.

    >>> chosen_step({7: 0.4, 14: 0.6, 21: 0.6})
    14

    Raises:
        RunFailed: no update was measured.
    """
    if not validation:
        raise RunFailed("no checkpoint was measured on the validation problems")
    return min(validation, key=lambda step: (-validation[step], step))


def conclusion(before: MeasuredShares, after: MeasuredShares) -> str:
    """State how much of the gain is arithmetic and how much is format."""
    old, new = before.right_of_numbers, after.right_of_numbers
    numbers = (
        f"Among responses that are a number, {old.value:.1%} were right before "
        f"and {new.value:.1%} after"
    )
    if not after.right.is_above(before.right):
        return f"{numbers}. Nothing was learned beyond chance."
    if new.is_above(old):
        return f"{numbers}: the gain is arithmetic, not format."
    return f"{numbers}: the gain may be arithmetic or format."


def carried_over(before: MeasuredShares, after: MeasuredShares) -> str:
    """State whether the gain transfers to a kind of problem: better, worse or cannot be told
    apart."""
    if after.right.is_above(before.right):
        return "better"
    return "worse" if before.right.is_above(after.right) else "cannot be told apart"


def check_gain(before: MeasuredShares, after: MeasuredShares) -> None:
    """Check that the model improved.

    Raises:
        RunFailed: the intervals overlap.
    """
    if not after.right.is_above(before.right):
        raise RunFailed(
            f"nothing was learned beyond chance: right {before.right} before, "
            f"{after.right} after; see the report"
        )
