"""95% intervals of a rate and of a mean, also of few values. Pure numbers in, pure numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054
# The 97.5% quantiles of Student's t for 1 to 20 degrees of freedom.
T_95 = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814)
T_95 += (2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596)


class Interval(NamedTuple):
    low: float
    high: float


def wilson(successes: float, trials: float) -> Interval | None:
    """The 95% interval of a rate; None without trials.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if trials == 0:
        return None
    rate, z2 = successes / trials, Z_95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def rate(rows: Sequence[float], trials: int) -> Interval | None:
    """The 95% interval of a rate of which each row has a share: Wilson's, at as many trials as the
    spread between the rows leaves of `trials`. None without rows.

    With one trial a row it is Wilson's own. Rows that are all 0 or all 1 count one trial each.

    Source: Korn and Graubard (1998), "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data" (the effective sample size).
    """
    if not rows:
        return None
    mean = math.fsum(rows) / len(rows)
    spread = math.fsum((row - mean) ** 2 for row in rows) / len(rows)
    effective = float(trials)
    if spread > 0:
        effective = min(effective, len(rows) * mean * (1 - mean) / spread)
    elif mean in (0.0, 1.0):
        effective = float(len(rows))
    return wilson(mean * effective, effective)


def normal(values: Sequence[float]) -> Interval | None:
    """The 95% interval of a mean, by the normal approximation; None below two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = Z_95 * math.sqrt(variance / len(values))
    return Interval(mean - half, mean + half)


def student(values: Sequence[float]) -> Interval | None:
    """The 95% interval of a mean of few values, by Student's t; None below two values.

    Source: Student (1908), "The probable error of a mean"; the quantiles are the usual table's.
    """
    wide = normal(values)
    if wide is None:
        return None
    mean, freedom = (wide.low + wide.high) / 2, len(values) - 1
    half = (wide.high - wide.low) / 2 * student_quantile(freedom) / Z_95
    return Interval(mean - half, mean + half)


def student_quantile(freedom: int) -> float:
    """The 97.5% quantile of Student's t, to three decimals.

    Source: beyond the table, Abramowitz and Stegun, 26.7.5.
    """
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z, n = Z_95, freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
