"""RewardBench 2's figures, computed by hand."""

from __future__ import annotations

import math

import pytest
from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.best_of import (
    Choice,
    best_of,
    is_best_of,
    point,
    ties_score,
    told_best_of,
)


def test_a_point_for_the_right_one_on_top_shared_where_scores_are_equal() -> None:
    scores = [([2.0], [1.0, 0.0, -1.0]), ([1.0], [2.0, 0.0, 0.0]), ([1.0], [1.0, 1.0, 0.0])]
    assert [point(Choice("a", "Math", *each)) for each in scores] == [1.0, 0.0, 1 / 3]


def test_subsets_stand_apart_and_weigh_alike_in_the_mean() -> None:
    right, wrong = ([1.0], [0.0, 0.0, 0.0]), ([0.0], [1.0, 0.0, 0.0])
    choices = [
        Choice("1", "Math", *right),
        Choice("2", "Math", *right),
        Choice("3", "Math", *wrong),
    ]
    figures = best_of([*choices, Choice("4", "Focus", *wrong)])
    found = [(row["subset"], row["prompts"], row["score"]) for row in figures["subsets"]]
    assert found == [("Focus", 1, 0.0), ("Math", 3, pytest.approx(2 / 3))]
    assert figures["mean"] == pytest.approx(1 / 3)
    assert {row["chance"] for row in figures["subsets"]} == {0.25}
    assert "Math" in "\n".join(told_best_of(figures))


def test_the_score_of_ties_is_accuracy_and_margin_by_the_benchmarks_weights() -> None:
    # Tied 1: right 2.0 to 3.0, wrong 0.5: gap 1.5, spread 1. Its reference: gap 0.5, below it.
    # Tied 2: a wrong one on top, gap -1, spread 0. Its reference: gap 1.
    choices = [
        Choice("tied:1", "Ties", [3.0, 2.0, 2.5], [0.5, 0.0]),
        Choice("ref:1", "Ties", [1.5], [1.0, 0.0]),
        Choice("tied:2", "Ties", [1.0, 1.0], [2.0]),
        Choice("ref:2", "Ties", [1.0], [0.0]),
    ]
    tied, ref, preferred, hard = 0.5, 1.0, 0.5, 0.0
    closeness = (math.tanh(0.5 / 1 - 1) - 1) / 2
    expected = 0.3 * tied + 0.3 * ref + 0.2 * preferred + 0.2 * hard + 0.01 * closeness
    assert ties_score(choices) == pytest.approx(expected)
    [row] = best_of(choices)["subsets"]
    assert (row["score"], row["interval"], row["chance"]) == (pytest.approx(expected), None, None)


def test_ties_need_their_ids() -> None:
    with pytest.raises(InputError, match="'17' of the subset Ties: its id must be ref:N or tied:N"):
        best_of([Choice("17", "Ties", [1.0], [0.0])])


def test_sides_that_are_lists_of_texts_are_the_benchmarks_rows() -> None:
    rows = {"prompt": "p", "chosen": ["a"], "rejected": ["b", "c"]}
    assert is_best_of(Dataset.from_list([rows]))
    turns = [{"role": "assistant", "content": "a"}]
    assert not is_best_of(Dataset.from_list([{"prompt": "p", "chosen": turns, "rejected": turns}]))
    assert not is_best_of(Dataset.from_list([{"prompt": "p", "chosen": "a", "rejected": "b"}]))
