"""Differences over rows and seeds: by hand, and how often the interval holds the truth."""

from __future__ import annotations

import math
import random

import pytest

from touchstone_rewards.trainer.running.intervals import student_quantile
from touchstone_rewards.trainer.running.paired import difference, estimate


def test_the_interval_is_that_of_the_formula() -> None:
    """Two seeds, four rows; means of seeds 1/2 and 1/4, of rows 1, 1/2, 0, 0; of all 3/8."""
    seeds = [{"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}, {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}]
    found = estimate(seeds)
    rows = ((1 - 3 / 8) ** 2 + (1 / 2 - 3 / 8) ** 2 + 2 * (3 / 8) ** 2 + 1) / 3 / 4
    of_seeds = 2 * (1 / 8) ** 2 / 1 / 2
    freedom = (rows + of_seeds) ** 2 / (rows**2 / 3 + of_seeds**2)
    half = student_quantile(int(freedom)) * math.sqrt(rows + of_seeds)
    assert found.mean == 3 / 8
    assert found.interval == pytest.approx((3 / 8 - half, 3 / 8 + half))
    assert found.by_seed == [1 / 2, 1 / 4]


def test_differences_are_paired_by_row_and_leave_out_rows_that_one_side_lacks() -> None:
    found = difference([{"a": 1.0, "b": 0.0, "c": 1.0}], [{"b": 0.0, "a": 0.0}])
    assert (found.mean, found.rows) == (0.5, 2)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25])
def test_a_difference_that_is_the_same_everywhere_has_a_width(value: float) -> None:
    found = estimate([{str(row): value for row in range(50)}] * 3)
    assert found.interval is not None
    assert found.interval.low < value < found.interval.high


def test_one_row_has_no_interval_and_no_rows_no_mean() -> None:
    assert estimate([{"a": 1.0}]).interval is None
    assert math.isnan(estimate([{}]).mean)


@pytest.mark.parametrize(("seeds", "rows", "of_seeds"), [(1, 100, 0.0), (3, 100, 0.05), (5, 80, 0)])
def test_the_interval_holds_the_truth_19_times_in_20(
    seeds: int, rows: int, of_seeds: float
) -> None:
    """Vary seeds, rows and both together around a true mean of 0; at least 93% of 400 intervals
    hold it."""
    draw = random.Random(0)
    held = 0
    for _ in range(400):
        own = [draw.gauss(0, 0.2) for _ in range(rows)]
        shifts = [draw.gauss(0, of_seeds) for _ in range(seeds)]
        values = [
            {str(n): shift + each + draw.gauss(0, 0.4) for n, each in enumerate(own)}
            for shift in shifts
        ]
        held += not estimate(values).is_apart
    assert held >= 0.93 * 400
