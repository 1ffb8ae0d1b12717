from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from touchstone_rewards.trainer.running.intervals import (
    clopper_pearson,
    incomplete_beta,
    normal,
    rate,
)


def test_the_exact_interval_by_hand() -> None:
    # 0 of n: (1 - high)^n = 0.025; n of n the other way round.
    low, high = clopper_pearson(0, 500) or (1, 0)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 500)))
    low, high = clopper_pearson(500, 500) or (0, 0)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 500)), 1.0)
    # Clopper and Pearson's own table has 0.025 and 0.556 for 2 of 10.
    assert clopper_pearson(2, 10) == pytest.approx((0.02521, 0.55610), abs=1e-5)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 9), (40, 3), (700, 300)])
@pytest.mark.parametrize("x", [0.01, 0.2, 0.5, 0.69, 0.99])
def test_the_incomplete_beta_function_is_a_sum_of_binomial_terms(a: int, b: int, x: float) -> None:
    n = a + b - 1
    terms = (
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(j + 1)
            - math.lgamma(n - j + 1)
            + j * math.log(x)
            + (n - j) * math.log1p(-x)
        )
        for j in range(a, n + 1)
    )
    assert incomplete_beta(x, a, b) == pytest.approx(math.fsum(terms), rel=1e-9, abs=1e-12)


def test_normal_by_hand() -> None:
    # mean 0.5, sample variance 1/3, standard error sqrt(1/12)
    low, high = normal([0.0, 1.0, 0.0, 1.0]) or (0, 0)
    assert low == pytest.approx(0.5 - 1.959964 * math.sqrt(1 / 12))
    assert high == pytest.approx(0.5 + 1.959964 * math.sqrt(1 / 12))


def test_nothing_measured_has_no_interval() -> None:
    assert clopper_pearson(0, 0) is None
    assert normal([1.0]) is None
    assert rate([], 0) is None


def test_the_interval_over_rows_is_the_exact_one_with_one_trial_a_row() -> None:
    assert rate([1.0] * 3 + [0.0] * 7, 10) == clopper_pearson(3, 10)
    assert rate([0.0] * 5, 5) == clopper_pearson(0, 5)
    assert rate([1.0], 8) == clopper_pearson(1, 1)


def test_rows_that_agree_within_themselves_count_little_more_than_once() -> None:
    # 4 responses a row, all alike: an effective size of 10, less the degrees of freedom of 10 rows:
    # (t_39 / t_9)^2 = (2.0227 / 2.2622)^2 = 0.7995.
    assert rate([1.0] * 3 + [0.0] * 7, 40) == pytest.approx(
        clopper_pearson(3 * 0.7995, 10 * 0.7995), abs=1e-3
    )
    size = 10 * 0.7995
    assert rate([1.0] * 10, 40) == pytest.approx(clopper_pearson(size, size), abs=1e-3)
    low, high = rate([0.5] * 10, 40) or (0, 1)
    alone, twice = clopper_pearson(20, 40), clopper_pearson(10, 20)
    assert alone is not None
    assert twice is not None
    assert twice.low < low < alone.low < alone.high < high < twice.high


def coverage(rows: int, each: int, truth: float, alike: float, runs: int) -> float:
    """Return the share of simulated evaluations whose interval holds the truth.

    `alike` is the correlation within rows; a row's own rate is drawn from the beta distribution
    with that correlation.
    """
    draw = np.random.default_rng([rows, each, round(1000 * truth), round(1000 * alike)])
    if alike == 0:
        rates = np.full((runs, rows), truth)
    elif alike == 1:
        rates = (draw.random((runs, rows)) < truth).astype(float)
    else:
        size = 1 / alike - 1
        rates = draw.beta(truth * size, (1 - truth) * size, (runs, rows))
    right = draw.binomial(each, rates)

    @cache
    def covers(*counts: int) -> bool:
        low, high = rate([count / each for count in counts], rows * each) or (1, 0)
        return low <= truth <= high

    return float(np.mean([covers(*sorted(map(int, run))) for run in right]))


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("rows", "each", "truth"),
    [
        (10, 1, 0.1),
        (10, 8, 0.5),  # 92.6% by Wilson's interval without the degrees of freedom
        (10, 16, 0.1),
        (20, 4, 0.1),  # 91%
        (50, 8, 0.05),
        (100, 2, 0.3),
        (20, 16, 0.9),
        (500, 16, 0.1),
    ],
)
def test_the_interval_covers_the_truth_in_94_percent_or_more(
    rows: int, each: int, truth: float, alike: float
) -> None:
    runs = 600 if rows >= 100 else 1500
    assert coverage(rows, each, truth, alike, runs) >= 0.94
