"""Limits, definite integrals and infinite sums as answers: those that converge are compared by
value.
"""

from __future__ import annotations

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, math_equal

SAME = [
    (r"\lim_{x\to 0}\frac{\sin x}{x}", "1"),
    (r"\lim_{x\to 0}\frac{1-\cos x}{x^2}", r"\frac12"),
    (r"\lim_{n\to\infty}(1+\frac{1}{n})^n", "e"),
    (r"\lim_{x\to 2} x^2", "4"),
    (r"\lim_{x\to 2}\frac{x^2-4}{x-2}", "4"),
    (r"\int_0^1 e^{-x^2}dx", r"\int_0^1 e^{-t^2}dt"),
    (r"\int_0^1 e^{-x^2}dx", r"\frac{\sqrt{\pi}}{2}\operatorname{erf}(1)"),
    (r"\int_0^1 x^2 dx", r"\frac13"),
    (r"\int_0^1 x^2 + 1 \, dx", r"\frac43"),
    (r"\int_0^1 (x^2+1)\,\mathrm{d}x", r"\frac43"),
    (r"\int_0^\infty e^{-x^2}dx", r"\frac{\sqrt\pi}{2}"),
    (r"\int_{-\infty}^{\infty} e^{-x^2}dx", r"\sqrt\pi"),
    (r"\int_0^{\pi} \sin x \, dx", "2"),
    (r"\int_1^e \frac{1}{x}dx", "1"),
    (r"\int_1^e \frac{dx}{x}", "1"),
    (r"\int_{-1}^{1} \sqrt{1-x^2}\,dx", r"\frac{\pi}{2}"),
    (r"\int_0^1 \ln x \, dx", "-1"),
    (r"\sum_{n=1}^{\infty} \frac{1}{2^n}", "1"),
    (r"\sum_{n=0}^{\infty} \frac{1}{n!}", "e"),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^2}", r"\frac{\pi^2}{6}"),
    (r"\sum_{n=1}^{\infty} \frac{1}{n(n+1)}", "1"),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^3}", r"\sum_{k=1}^{\infty} \frac{1}{k^3}"),
    (r"\sum_{n=1}^{\infty} \frac{(-1)^{n+1}}{n}", r"\ln 2"),
    (r"\sum_{n=0}^{\infty} \frac{n}{3^n}", r"\frac34"),
    (r"\int 2x dx", r"\int 2x\,dx"),
    (r"\int_0^1 x dx + 1", r"\frac32"),
    (r"\Gamma(\frac12)", r"\sqrt{\pi}"),
]

APART = [
    (r"\lim_{x\to 0}\frac{\sin x}{x}", "0"),
    (r"\lim_{n\to\infty}(1+\frac{1}{n})^n", "2.718281828"),
    (r"\int_0^1 e^{-x^2}dx", r"\int_0^2 e^{-x^2}dx"),
    (r"\int_0^1 e^{-x^2}dx", "0.7468"),
    (r"\sum_{n=1}^{\infty} \frac{1}{n^2}", r"\frac{\pi^2}{8}"),
]

# These have no limit, or more than one: an unknown ground truth gives no verdict.
UNKNOWN = [
    (r"\sum_{n=1}^{\infty} \frac{1}{n}", "0"),
    (r"\lim_{x \to 0} \frac{|x|}{x}", "1"),
    (r"\lim_{x \to 0} \sin\frac1x", "0"),
    (r"\lim_{x \to \infty} \sin x", "0"),
    (r"\lim_{x \to 0} \frac{1}{x}", "0"),
    (r"\int_0^1 \frac{1}{x} dx", "1"),
    (r"\int_{-1}^1 \frac{1}{x} dx", "0"),
    (r"\int_{-1}^{1} |x| dx", "0"),
    (r"\sum_{n=1}^{\infty} (-1)^n", r"-\frac12"),
    (r"\sum_{n=1}^{\infty} 2^n", "-2"),
]

COSTLY = [
    r"\int_0^1 x dx+" * 200 + "1",
    r"\lim_{x\to 0}" * 40 + "x",
    r"\sum_{n=1}^{\infty}" * 40 + r"\frac{1}{n^2}",
    r"\int_0^1 (x^{100})! dx",
    r"\int_0^{10^{1000}} x^{1000} dx",
    r"\sum_{n=1}^{\infty} \frac{1}{(n!)!}",
    r"\int_{-\infty}^{\infty} e^{e^x} dx",
    r"\lim_{n\to\infty} n^{n^n}",
]


@pytest.mark.parametrize(("truth", "answer"), SAME)
def test_the_value_holds(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)
    assert math_equal(truth, answer)


@pytest.mark.parametrize(("truth", "answer"), APART)
def test_another_value_does_not(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), UNKNOWN)
def test_what_does_not_settle_is_no_verdict(truth: str, answer: str) -> None:
    with pytest.raises(UnreadableGroundTruth):
        math_equal(answer, truth)
    assert not math_equal(truth, answer)
    assert math_equal(truth + " ", truth)


@pytest.mark.parametrize("text", COSTLY)
def test_work_is_bounded(text: str) -> None:
    for answer, truth in ((text, "5"), ("5", text), ("x", text)):
        try:
            with at_most(HANG_S):
                assert not math_equal(answer, truth)
        except UnreadableGroundTruth:
            assert truth == text
