"""95% intervals of a rate and of a mean. Pure numbers in, pure numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054


class Interval(NamedTuple):
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval | None:
    """The 95% interval of a rate; None without trials.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if trials == 0:
        return None
    rate, z2 = successes / trials, Z_95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def normal(values: Sequence[float]) -> Interval | None:
    """The 95% interval of a mean, by the normal approximation; None below two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = Z_95 * math.sqrt(variance / len(values))
    return Interval(mean - half, mean + half)
