from __future__ import annotations

import re

import pytest

from touchstone_rewards.trainer.toy.arithmetic import (
    Problem,
    draw_problems,
    plain_response,
    split_sums,
    tagged_response,
)


@pytest.mark.parametrize("seed", range(5))
def test_no_sum_of_the_test_half_is_seen_in_training_in_either_order(seed: int) -> None:
    split = split_sums(seed)
    seen = {frozenset(each[:2]) for each in split.train}
    assert not seen & {frozenset(each[:2]) for each in split.test}


def test_five_hundred_held_out_problems_have_five_hundred_different_prompts() -> None:
    test = draw_problems(split_sums(0).test, 500, 1)
    assert len({problem.prompt for problem in test}) == 500


def test_no_test_prompt_and_no_test_working_occurs_in_the_training_texts() -> None:
    split = split_sums(0)
    train = draw_problems(split.train, 12_000, 0)
    test = draw_problems(split.test, 500, 1)
    assert not {each.prompt for each in train} & {each.prompt for each in test}
    assert not {each.working for each in train} & {each.working for each in test}


def test_the_ground_truth_is_what_the_text_asks_for() -> None:
    for problem in draw_problems(split_sums(3).train, 200, 0):
        a, b = map(int, re.findall(r"\d+", problem.prompt))
        expected = a + b if problem.sum[2] == "+" else a - b
        assert problem.ground_truth == str(expected)
        assert expected >= 0


def test_both_forms_of_a_response_by_hand() -> None:
    problem = Problem((12, 7, "-"), 0, "Tom", "pens")
    assert tagged_response(problem) == " 12-7=5 </think> <answer> 5 </answer>"
    assert plain_response(problem) == " 12-7=5 so the answer is 5."


def test_the_same_seed_draws_the_same_problems_and_another_seed_others() -> None:
    sums = split_sums(0).train
    assert draw_problems(sums, 50, 1) == draw_problems(sums, 50, 1)
    assert draw_problems(sums, 50, 1) != draw_problems(sums, 50, 2)


def test_more_problems_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="only 120"):
        draw_problems(split_sums(0).test[:1], 121, 0)
