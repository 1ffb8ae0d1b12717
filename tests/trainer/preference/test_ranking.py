"""Figures of scored pairs, computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from touchstone_rewards.trainer.preference.ranking import (
    calibration,
    claimed,
    ranking_of,
    told,
)

LOGIT_OF_19_IN_20 = math.log(19)


def pair(chosen: float, rejected: float, tokens: tuple[int, int] = (9, 4), **more: Any) -> Any:
    scores = {"chosen": chosen, "rejected": rejected}
    return {**scores, "chosen_tokens": tokens[0], "rejected_tokens": tokens[1], **more}


def test_right_is_strictly_above_and_equal_scores_are_counted() -> None:
    figures = ranking_of([pair(2, 1), pair(1, 1), pair(0, 1), pair(3, -3)])
    assert (figures["pairs"], figures["accuracy"], figures["ties"]) == (4, 0.5, 1)
    low, high = figures["interval"]
    assert 0 < low < 0.5 < high < 1


def test_lengths_are_told_in_doublings_of_the_longer_side() -> None:
    lines = [pair(2, 1, (3, 32)), pair(1, 2, (33, 1)), pair(2, 1, (64, 64)), pair(2, 1, (65, 2))]
    rows = ranking_of(lines)["by_tokens"]
    found = [(row["tokens"], row["pairs"], row["accuracy"]) for row in rows]
    assert found == [("1 to 32", 1, 1.0), ("33 to 64", 2, 0.5), ("65 to 128", 1, 1.0)]


def test_a_model_that_likes_what_is_long_shows() -> None:
    lines = [pair(2, 1, (9, 4)), pair(1, 2, (4, 9)), pair(1, 2, (4, 9)), pair(2, 1, (5, 5))]
    rows = ranking_of(lines)["by_longer_side"]
    found = [(row["longer"], row["pairs"], row["accuracy"]) for row in rows]
    assert found == [("chosen", 1, 1.0), ("neither", 1, 1.0), ("rejected", 2, 0.0)]


def test_subsets_have_a_table_where_the_rows_name_them() -> None:
    figures = ranking_of([pair(2, 1, subset="math"), pair(1, 2, subset="chat"), pair(2, 1)])
    found = [(row["subset"], row["pairs"], row["accuracy"]) for row in figures["by_subset"]]
    assert found == [("chat", 1, 0.0), ("math", 1, 1.0)]
    assert "by_subset" not in ranking_of([pair(2, 1)])


def test_a_claim_is_the_sigmoid_of_the_difference_or_the_normal_distribution_of_its_share() -> None:
    assert claimed(pair(LOGIT_OF_19_IN_20, 0)) == pytest.approx(0.95)
    assert claimed(pair(-2000, 2000)) == 0.0
    # Means 2 and 1, deviations 0.6 and 0.8: z = 1, and the normal distribution has 0.841345 below.
    assert claimed(pair(2, 1, chosen_std=0.6, rejected_std=0.8)) == pytest.approx(
        0.841345, abs=1e-6
    )


def test_a_calibrated_model_is_right_as_often_as_it_says() -> None:
    right, wrong = pair(LOGIT_OF_19_IN_20, 0), pair(0, LOGIT_OF_19_IN_20)
    found = calibration([right] * 19 + [wrong])
    assert (found["expected"], found["observed"]) == pytest.approx((0.95, 0.95))
    assert found["ece"] == pytest.approx(0.0, abs=1e-12)


def test_the_calibration_error_is_the_mean_gap_of_the_bins_by_their_pairs() -> None:
    # Three pairs at 0.95, one of them right; one tie, which expects a half and gets it.
    sure, wrong = pair(LOGIT_OF_19_IN_20, 0), pair(0, LOGIT_OF_19_IN_20)
    found = calibration([sure, wrong, wrong, pair(1, 1)])
    assert [(row["from"], row["to"], row["pairs"]) for row in found["bins"]] == [
        (0.5, 0.6, 1),
        (0.9, 1.0, 3),
    ]
    assert found["bins"][1]["observed"] == pytest.approx(1 / 3)
    assert found["ece"] == pytest.approx(3 / 4 * (0.95 - 1 / 3))
    assert found["expected"] == pytest.approx((3 * 0.95 + 0.5) / 4)
    assert found["observed"] == pytest.approx((1 + 0.5) / 4)


def test_the_screen_says_all_of_it() -> None:
    lines = [pair(LOGIT_OF_19_IN_20, 0, (40, 9), subset="math"), pair(0, 1, (4, 9), subset="chat")]
    shown = "\n".join(told(ranking_of(lines)))
    for words in ("2 pairs: 50.0% [", "33 to 64", "math", "overconfident by", "calibration error"):
        assert words in shown, shown
