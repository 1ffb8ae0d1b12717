"""Compare two runs, or two settings over several seeds, on the same held-out rows.

From one value per row and seed, compute a mean with a 95% interval over rows and seeds. Pure
functions of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from touchstone_rewards.trainer.running.intervals import Interval, student_quantile

# Fewer seeds say next to nothing about other seeds, whatever the interval.
LEAST_SEEDS = 3


class Estimate(NamedTuple):
    """A mean over rows and seeds; without an interval for fewer than two rows."""

    mean: float
    interval: Interval | None
    by_seed: list[float]
    rows: int

    @property
    def is_apart(self) -> bool:
        """Return whether 0 is outside the interval."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def estimate(seeds: Sequence[Mapping[str, float]]) -> Estimate:
    """Return the mean of a value per held-out row and seed, with its interval.

    Rows and seeds are both samples, and a row is the same under every seed, so the variance of the
    mean is the variance of the row means plus that of the seed means. A bootstrap over rows and
    seeds gives the same variance, but its intervals are too narrow for a few seeds. One added row
    that differs by 1 keeps the interval of a constant difference above width 0. Rows that some seed
    lacks are left out. With one seed, the interval is over rows only.

    Source: Owen (2007), "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), for the
    variance; Satterthwaite (1946) for the degrees of freedom.

    >>> estimate([{"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1.0}]).mean
    0.75
    """
    names = [name for name in seeds[0] if all(name in seed for seed in seeds)]
    if not names:
        return Estimate(math.nan, None, [], 0)
    by_seed = [fmean(seed[name] for name in names) for seed in seeds]
    by_row = [fmean(seed[name] for seed in seeds) for name in names]
    mean = fmean(by_seed)
    count, rows = len(seeds), len(names)
    if rows < 2:
        return Estimate(mean, None, by_seed, rows)
    of_rows = (_squares(by_row, mean) + 1) / (rows - 1) / rows
    of_seeds = _squares(by_seed, mean) / (count - 1) / count if count > 1 else 0.0
    freedom = of_rows**2 / (rows - 1) + (of_seeds**2 / (count - 1) if count > 1 else 0.0)
    total = of_rows + of_seeds
    half = student_quantile(max(1, int(total**2 / freedom))) * math.sqrt(total)
    return Estimate(mean, Interval(mean - half, mean + half), by_seed, rows)


def difference(
    this: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]
) -> Estimate:
    """Return how much higher `this` is than `other`, paired by seed and by row.

    >>> difference([{"a": 1.0, "b": 1.0}], [{"a": 0.0, "b": 1.0}]).mean
    0.5
    """
    pairs = zip(this, other, strict=True)
    return estimate([{name: a[name] - b[name] for name in a if name in b} for a, b in pairs])


def _squares(values: Sequence[float], mean: float) -> float:
    return math.fsum((value - mean) ** 2 for value in values)
