"""Where the policy requires order: values as written; named values and ± in any order."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math.equal import math_equal
from touchstone_rewards.reward_server.scorers.math.policy import make_policy

ORDERED = make_policy({"order": "ordered"})


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("\\pm\\sqrt{3}", "\\sqrt{3} or -\\sqrt{3}"),
        ("\\sqrt{5}, -\\sqrt{5}", "y = \\pm\\sqrt{5}"),
        ("\\pm\\sqrt{3}", "-\\sqrt{3}, \\sqrt{3}"),
        ("6 - \\sqrt{5}, 6 + \\sqrt{5}", "6 \\pm \\sqrt{5}"),
        ("x = 2, y = 3", "y = 3, x = 2"),
        ("x = 2, y = 3", "2, 3"),
    ],
)
def test_two_signs_have_no_order_and_names_say_which_is_which(truth: str, answer: str) -> None:
    assert math_equal(answer, truth, ORDERED)


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("x = 2, y = 3", "y = 2, x = 3"),
        ("x = 2, y = 3", "3, 2"),
        ("x = 2, x = 3", "x = 3, x = 2"),
        ("x_1 = 2, x_2 = 3", "x_1 = 3, x_2 = 2"),
        ("2, 3", "3, 2"),
        ("2, \\pm 3", "-3, 2, 3"),
    ],
)
def test_another_order_is_another_answer(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth, ORDERED)
