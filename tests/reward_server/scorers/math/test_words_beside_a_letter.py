"""Words beside a letter form a phrase that begins or ends with it, and are not that letter."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math.equal import math_check, math_equal


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("A", "A polygenic risk score"),
        ("A polygenic risk score", "A"),
        ("A", "\\text{A polygenic risk score}"),
        ("I", "I think"),
        ("a", "a circle"),
        ("A polygenic risk score", "A monogenic risk score"),
        ("A", "A多基因风险评分"),
    ],
)
def test_a_phrase_is_not_its_letter(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)
    assert not math_check(f"\\boxed{{{answer}}}", truth).equal


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("A polygenic risk score", "\\text{A polygenic risk score}"),
        ("A polygenic risk score", "a polygenic risk score"),
        ("A polygenic risk score", "Polygenic risk score"),
        ("A", "A. polygenic risk score"),
        ("C", "C选项"),
        ("n", "n个"),
        ("x", "x \\text{ meters}"),
        ("3", "3 apples"),
    ],
)
def test_the_same_phrase_the_choice_and_the_unit_are(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)
