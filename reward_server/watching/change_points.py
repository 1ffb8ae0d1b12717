"""Detect a change in a series of numbers with a one-sided CUSUM.

The first values form the baseline: their median, and a unit. The unit is the larger of the smallest
change that matters and a multiple of the robust spread. Each later value adds its deviation beyond
one unit to a sum; an alarm is raised when the sum reaches `threshold` units. The baseline is then
learnt again, so a lasting change is reported once.

Source: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import NamedTuple

# Ratio of standard deviation to median absolute deviation for a normal distribution.
MAD_SCALE = 1.4826


class DetectorConfig(NamedTuple):
    """Settings of a detector.

    `first`: number of values in the baseline. `spread`: robust standard deviations per unit.
    `threshold`: sum of deviations, in units, that raises an alarm. `patience`: smallest number of
    values before an alarm; each value contributes at most threshold / patience.
    """

    first: int = 20
    spread: float = 4.0
    threshold: float = 3.0
    patience: int = 3


class ChangePoint(NamedTuple):
    """A detected change.

    `since`: index of its first value. `value`: mean from there on.
    """

    since: int
    expected: float
    tolerance: float
    value: float


class Detector:
    """Change detector for one signal of one run."""

    def __init__(self, rises: bool, least: float, config: DetectorConfig) -> None:
        self._direction = 1 if rises else -1
        self._least = least
        self._config = config
        self._first: list[float] = []
        self.restart()

    def restart(self) -> None:
        """Start learning a new baseline."""
        self._first.clear()
        self.expected = self.unit = 0.0
        self._forget()

    def _forget(self) -> None:
        self._sum, self._since = 0.0, 0
        self._total, self._count = 0.0, 0

    def take(self, at: int, value: float, *, allowed: bool = True) -> ChangePoint | None:
        """Add the next value, with index `at`; return the change if an alarm is raised.

        Unless `allowed`, the sum may grow but no alarm is raised.

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
    """Return the expected value, and the unit of deviations from it.

    >>> baseline([0.0, 0.2, 0.1], 0.1, 1.0)
    (0.1, 0.14826)
    """
    middle = median(values)
    deviation = MAD_SCALE * median(abs(value - middle) for value in values)
    return middle, max(least, round(spread * deviation, 12))


class RewardHolds:
    """Check that the reward is at least as high as at the start of the run.

    If it falls, the policy gains nothing, so a change in a signal is not reward hacking.
    """

    def __init__(self, first: int, last: int = 5) -> None:
        self._first_count, self._last_count = first, last
        self._first: list[float] = []
        self._last: list[float] = []

    def take(self, reward: float | None) -> bool:
        """Add the mean reward of a point, if known; return whether the reward holds."""
        if reward is not None:
            if len(self._first) < self._first_count:
                self._first.append(reward)
            self._last = [*self._last, reward][-self._last_count :]
        if not self._first:
            return False
        expected, unit = baseline(self._first, 0.02, 1.0)
        return fmean(self._last) >= expected - unit
