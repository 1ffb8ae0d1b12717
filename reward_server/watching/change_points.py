"""When a number leaves what its own beginning had led to expect: a one-sided CUSUM. Pure.

In: one value a point, in order. Out: an alarm now and then, with where the change began. The first
values make the baseline: their median, and a unit that is the larger of what the signal names as
mattering and a multiple of their robust spread. Each later value adds to the sum what it is beyond
one unit; a sum of `threshold` units is an alarm. After it the baseline is learnt anew, so that a
lasting change is told once.

Source: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import NamedTuple

# The scale of a normal distribution for its median absolute deviation.
MAD_SCALE = 1.4826


class DetectorConfig(NamedTuple):
    """`first`: values of the baseline. `spread`: robust standard deviations in a unit. `threshold`:
    units beyond the first one that sum up to an alarm. `patience`: values that an alarm takes at
    least: one counts for no more than its part of the threshold."""

    first: int = 20
    spread: float = 4.0
    threshold: float = 3.0
    patience: int = 3


class ChangePoint(NamedTuple):
    """`since`: the name of the first value of the change. `value`: the mean from there on."""

    since: int
    expected: float
    tolerance: float
    value: float


class Detector:
    """Follows one signal of one run."""

    def __init__(self, rises: bool, least: float, config: DetectorConfig) -> None:
        self._direction = 1 if rises else -1
        self._least = least
        self._config = config
        self._first: list[float] = []
        self.restart()

    def restart(self) -> None:
        """Learn the baseline anew."""
        self._first.clear()
        self.expected = self.unit = 0.0
        self._forget()

    def _forget(self) -> None:
        self._sum, self._since = 0.0, 0
        self._total, self._count = 0.0, 0

    def take(self, at: int, value: float, *, allowed: bool = True) -> ChangePoint | None:
        """Take in the next value, named `at`; not `allowed`: the sum may grow but gives no alarm.

        >>> detector = Detector(True, 0.1, DetectorConfig(first=3, patience=2))
        >>> found = [detector.take(at, at > 5) for at in range(9)]
        >>> [change and change.since for change in found]
        [None, None, None, None, None, None, None, 6, None]
        """
        config = self._config
        if len(self._first) < config.first:
            self._first.append(value)
            if len(self._first) == config.first:
                self.expected, self.unit = baseline(self._first, self._least, config.spread)
            return None
        beyond = self._direction * (value - self.expected) / self.unit - 1
        grown = self._sum + min(beyond, config.threshold / config.patience)
        if grown <= 0:
            self._forget()
            return None
        if not self._sum:
            self._since = at
        self._sum = min(grown, config.threshold)
        self._total, self._count = self._total + value, self._count + 1
        if self._sum < config.threshold * (1 - 1e-9) or not allowed:
            return None
        found = ChangePoint(self._since, self.expected, self.unit, self._total / self._count)
        self.restart()
        return found


def baseline(values: Sequence[float], least: float, spread: float) -> tuple[float, float]:
    """Return what is expected, and the unit of what is beyond it.

    >>> baseline([0.0, 0.2, 0.1], 0.1, 1.0)
    (0.1, 0.14826)
    """
    middle = median(values)
    deviation = MAD_SCALE * median(abs(value - middle) for value in values)
    return middle, max(least, round(spread * deviation, 12))


class RewardHolds:
    """Whether the reward is where it was in the first part, or above: a policy that loses by what
    it does games nothing."""

    def __init__(self, first: int, last: int = 5) -> None:
        self._first_count, self._last_count = first, last
        self._first: list[float] = []
        self._last: list[float] = []

    def take(self, reward: float | None) -> bool:
        """Take in the mean reward of a point; with None, nothing changes."""
        if reward is not None:
            if len(self._first) < self._first_count:
                self._first.append(reward)
            self._last = [*self._last, reward][-self._last_count :]
        if not self._first:
            return False
        expected, unit = baseline(self._first, 0.02, 1.0)
        return fmean(self._last) >= expected - unit
