from __future__ import annotations

import math

import pytest

from touchstone_rewards.trainer.running.intervals import normal, rate, wilson


def test_wilson_by_hand() -> None:
    # z = 1.96: centre (0.2 + 3.8415/20) / 1.38415 = 0.28328, half 0.22656
    low, high = wilson(2, 10) or (0, 0)
    assert low == pytest.approx(0.05668, abs=1e-4)
    assert high == pytest.approx(0.50984, abs=1e-4)


def test_wilson_at_the_ends_stays_within_zero_and_one_and_is_not_empty() -> None:
    low, high = wilson(0, 500) or (1, 0)
    assert (round(low, 9), round(high, 4)) == (0.0, 0.0076)
    low, high = wilson(500, 500) or (0, 0)
    assert (round(low, 4), high) == (0.9924, 1.0)


def test_normal_by_hand() -> None:
    # mean 0.5, sample variance 1/3, standard error sqrt(1/12)
    low, high = normal([0.0, 1.0, 0.0, 1.0]) or (0, 0)
    assert low == pytest.approx(0.5 - 1.959964 * math.sqrt(1 / 12))
    assert high == pytest.approx(0.5 + 1.959964 * math.sqrt(1 / 12))


def test_nothing_measured_has_no_interval() -> None:
    assert wilson(0, 0) is None
    assert normal([1.0]) is None


def test_the_interval_over_rows_is_wilsons_with_one_trial_a_row() -> None:
    assert rate([1.0] * 3 + [0.0] * 7, 10) == pytest.approx(wilson(3, 10))
    assert rate([0.0] * 5, 5) == wilson(0, 5)
    assert rate([], 0) is None


def test_rows_that_agree_within_themselves_count_once_others_as_often_as_they_have_trials() -> None:
    clustered = rate([1.0] * 3 + [0.0] * 7, 40)
    assert clustered == pytest.approx(wilson(3, 10))
    assert rate([0.5] * 10, 40) == pytest.approx(wilson(20, 40))
    assert rate([1.0] * 10, 40) == pytest.approx(wilson(10, 10))
