"""Forms repeated up to the longest text that is read: each gets a verdict, and soon."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, math_equal

PIECES = [
    "n for ", "x, where x>0 ", "x (x>0) ", "\\text{", "\\text{ for }x", "\\quad ", "# ", "\\#\\#",
    "[0,", "],[", "(1) ", "(1) 3 (2) ", "(mod ", "^2_0", "\\hat{", '"', "\\\\", "1,\\ldots,",
    "one hundred ", "一百", "\\begin{cases}x&x>0\\\\", "\\begin{aligned}x&=", "multiples of ",
    " except 1", "all ", "+C", "\\hat{i}+\\hat{j}+", "n\\equiv 1,", "\\underline{", "\\not",
    "\\textcolor{red}{", "for all x, ", " if n is even and ", "k\\pi,", "x>1,", "x\\in\\mathbb{R},",
    "odd primes ", "30^\\circ 30' ", "np.", "1x10^", "\\Gamma(", "C_{10}^", "{}_{10}C_",
    "\\mathbb{R}_{>", "\\large ", "\\tag{", "i+j+",
]  # fmt: skip
ENDS = ["", "k\\in\\mathbb{Z}", "x>0", ")", "}", ", n \\ge 0", "!", "5"]


@pytest.mark.parametrize("piece", PIECES)
def test_a_form_repeated_ends_in_a_verdict(piece: str) -> None:
    for end in ENDS:
        text = (piece * (3_900 // len(piece)))[:3_900] + end
        for pair in ((text, "5"), ("x", text)):
            with at_most(HANG_S), suppress(UnreadableGroundTruth):
                math_equal(*pair)


@pytest.mark.parametrize(
    "truth",
    [
        "n \\equiv 1 \\pmod{10000}",
        "n \\not\\equiv 1 \\pmod{10000}",
        "10^{1000} k + 1, k \\in \\mathbb{Z}",
        "\\frac{k}{10^{1000}}, k \\in \\mathbb{Z}",
        "1, 2, \\ldots, 10^{20}",
        "k!, k \\in \\mathbb{Z}",
        "\\sqrt{2} k, \\sqrt{3} k, k \\in \\mathbb{Z}",
    ],
)
def test_large_families_are_compared_in_bounded_work(truth: str) -> None:
    for answer in (truth + " ", "k, k \\in \\mathbb{Z}", "n = 9999k + 1", "\\sqrt{5} k"):
        try:
            assert math_equal(answer, truth) == (answer.strip() == truth)
        except UnreadableGroundTruth:
            assert "not" in truth
