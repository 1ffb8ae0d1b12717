"""Inputs that once hung, crashed or fooled the scorer, found by fuzzing and reading."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.scorers.math import (
    UnreadableGroundTruth,
    math_check,
    math_equal,
)

# Work that grows with the power, the square or worse of the input's length.
COSTLY = {
    "nested products": "\\prod_{k=1}^{9}" * 26 + "4",
    "nested sums": "\\sum_{k=1}^{400}" * 3 + "k",
    "a product of factorials": "\\cdot ".join(["2999!"] * 300),
    "a sum of large fractions": "+".join(f"\\frac{{1}}{{{p}^{{5000}}}}" for p in range(3, 300, 2)),
    "a set of signs": ",".join(f"{n}\\pm\\sqrt{{{n}}}\\pm 1" for n in range(2, 100)),
    "a list of roots": ",".join(f"\\sqrt{{{n}}}+x" for n in range(200)),
    "nested roots": "\\sqrt{1+" * 45 + "2" + "}" * 45,
    "opening brackets": "(" * 1000 + "5" + ")" * 1000,
    "zeta far up": "\\operatorname{zeta}(0.5+100000000i)",
    "many unions": "\\cup ".join(f"[{n},{n + 1}]" for n in range(0, 400, 2)),
    "a long literal": "7" * 3900,
}


@pytest.mark.parametrize("answer", COSTLY.values(), ids=list(COSTLY))
def test_no_input_is_worked_on_for_long(answer: str) -> None:
    for pair in ((answer, "5"), ("x", answer), (f"{answer}+0", answer)):
        with at_most(HANG_S), suppress(UnreadableGroundTruth):
            math_equal(*pair)


@pytest.mark.parametrize(
    "answer", ["1e999999999", "5_", "0.(3)", "５", "\x00", "\\", "\\text{", "_{", "|"]
)
def test_odd_ends_of_text_are_no_crash(answer: str) -> None:
    assert not math_equal(answer, "7")


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("|x| < 1", "x < 1"),  # a line through points on one side only
        ("A:B = 1", "A"),  # a ratio is no choice
        ("y \\ne 2", "x \\ne 2"),
        ("2x = 4", "x = 2"),
        ("ab = 0", "0"),
        ("s^2 e^{st} = 0", "s^2 = 0"),  # st is no ordinal
        ("f(t) = 2x", "f(x) = 2x"),
        ("36^\\circ", "\\$36"),
        ("12:00", "1:00"),
        ("2^{200000} + 1", "2^{200000}"),
        ("|x - 50| - 50", "-x"),  # the same on this side of 50
        ("0.30000000000000004", "0.3"),
        ("4^\\circ \\text{C}", "4^\\circ \\text{F}"),
    ],
)
def test_what_only_looks_the_same_is_not(answer: str, truth: str) -> None:
    assert not math_equal(answer, truth)
    assert not math_equal(truth, answer)


def test_a_box_that_another_box_contradicts_is_judged_by_the_last() -> None:
    assert math_check("\\boxed{8} \\boxed{7}", "7").equal
    assert not math_check("\\boxed{7} \\boxed{8}", "7").equal
