"""95% intervals of rates and means, also of few values, as pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054
# The 97.5% quantiles of Student's t for 1 to 20 degrees of freedom.
T_95 = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814)
T_95 += (2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596)
TAIL = 0.025
# Limits for the incomplete beta function; they suffice for a million trials.
BETA_STEPS, BETA_PRECISION, BISECTIONS = 10_000, 1e-12, 45
# Weight of the prior against the spread between few rows; without it coverage falls to 88% at 10
# rows of 16 and a rate of .1.
PRIOR_ROWS = 0.5


class Interval(NamedTuple):
    low: float
    high: float


def rate(rows: Sequence[float], trials: int) -> Interval | None:
    """Return the exact 95% interval of a rate, given each row's share of successes; None without
    rows.

    `trials` is the number of trials over all rows. Trials within a row may be correlated, so the
    interval uses an effective number of trials, estimated from the spread between rows; with one
    trial per row that is the number of rows. With few rows, or a rate near 0 or 1, the spread is
    uncertain, and rows count as more correlated than they appear. If all rows are 0 or all are 1,
    each row counts as one trial.

    Source: Korn and Graubard (1998), "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24(2), 193-201: the
    effective sample size with its correction for the degrees of freedom, in the interval of Clopper
    and Pearson (1934). `PRIOR_ROWS` is ours; tests/trainer/running/test_intervals.py has the
    coverage.
    """
    if not rows:
        return None
    mean = math.fsum(rows) / len(rows)
    effective = float(len(rows))
    if len(rows) > 1 and trials > len(rows):
        alike = _alike(rows, mean, trials)
        effective = trials / (1 + (trials / len(rows) - 1) * alike)
        effective *= (student_quantile(trials - 1) / student_quantile(len(rows) - 1)) ** 2
    return clopper_pearson(mean * effective, effective)


def _alike(rows: Sequence[float], mean: float, trials: int) -> float:
    """Estimate the correlation of trials within a row: 0 independent, 1 identical.

    The observed value is weighted by its information, against `PRIOR_ROWS` rows of correlation 1.
    """
    spread = math.fsum((row - mean) ** 2 for row in rows) / (len(rows) - 1)
    telling = 4 * len(rows) * mean * (1 - mean)
    if telling == 0:
        return 1.0
    each = trials / len(rows)
    design = each * spread / (mean * (1 - mean))
    shown = min(1.0, max(0.0, (design - 1) / (each - 1)))
    return (telling * shown + PRIOR_ROWS) / (telling + PRIOR_ROWS)


def clopper_pearson(successes: float, trials: float) -> Interval | None:
    """Return the exact 95% interval of a rate; the numbers need not be whole. None without trials.

    Source: Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the
    case of the binomial".
    """
    if trials <= 0:
        return None
    failures = max(0.0, trials - successes)
    low = beta_quantile(TAIL, successes, failures + 1) if successes > 0 else 0.0
    high = beta_quantile(1 - TAIL, successes + 1, failures) if failures > 0 else 1.0
    return Interval(low, high)


def beta_quantile(share: float, a: float, b: float) -> float:
    """Return x with I_x(a, b) = share, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if incomplete_beta(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b).

    Source: NIST Digital Library of Mathematical Functions, 8.17.22, evaluated by Lentz's method.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the continued fraction converges fast
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, BETA_STEPS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + numerator * d)
            c = 1 + numerator / c
            fraction *= c * d
        if abs(c * d - 1) < BETA_PRECISION:
            break
    return front * fraction / a


def normal(values: Sequence[float]) -> Interval | None:
    """Return the 95% interval of a mean by the normal approximation; None for fewer than two
    values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = Z_95 * math.sqrt(variance / len(values))
    return Interval(mean - half, mean + half)


def student(values: Sequence[float]) -> Interval | None:
    """Return the 95% interval of a mean of few values by Student's t; None for fewer than two
    values.

    Source: Student (1908), "The probable error of a mean"; quantiles from the usual table.
    """
    wide = normal(values)
    if wide is None:
        return None
    mean, freedom = (wide.low + wide.high) / 2, len(values) - 1
    half = (wide.high - wide.low) / 2 * student_quantile(freedom) / Z_95
    return Interval(mean - half, mean + half)


def student_quantile(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t, to three decimals.

    Source: beyond the table, Abramowitz and Stegun, 26.7.5.
    """
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z, n = Z_95, freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
