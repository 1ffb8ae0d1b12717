"""Numbers too small to see, digits left out, repeats, factorials of every second number."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_equal

# ground truth, answer
SMALL_SAME = [
    (r"\sin(\pi)", "0"),
    ("0", r"\sin(\pi)"),
    (r"\ln e - 1", "0"),
    ("1", r"1 + \sin(\pi)"),
    (r"e^{i\pi} + 1", "0"),
    (r"\frac{1}{100!}", r"\frac{1}{100!}"),
    (r"\arctan 1", r"\frac{\pi}{4}"),
    (r"\sqrt{2}-\sqrt{2}", "0"),
    (r"\pi^{-1000}", r"\frac{1}{\pi^{1000}}"),
    (r"10^{400}\pi", r"\pi 10^{400}"),
]
SMALL_OTHER = [
    (r"\sin(\pi)", r"\frac{1}{100!}"),
    (r"\sin \pi", "10^{-400}"),
    ("0", r"\sin\pi + 10^{-400}"),
    ("0", r"\cos\frac{\pi}{2} + \frac{1}{200!}"),
    (r"\tan\pi", r"\frac{1}{300!}"),
    (r"\ln e - 1", "10^{-200}"),
    (r"\sqrt{2}", r"\sqrt{2} + 10^{-200}"),
    (r"1 + \sin \pi", r"1 + \frac{1}{100!}"),
    (r"e^{i\pi} + 1", r"\frac{1}{100!}"),
    ("e^{-1000}", "e^{-1001}"),
    ("e^{-1000}", "0"),
    ("0", "e^{-1000}"),
    (r"\sin x", r"\sin x + 10^{-100}"),
    ("x", r"x + \frac{1}{100!}"),
    (r"\frac{1}{100!}", r"\frac{1}{101!}"),
    (r"\pi^{-1000}", r"\pi^{-1001}"),
    (r"10^{400}\pi", r"10^{400}\pi + 1"),
]
ROUNDED_SAME = [
    (r"\frac{1}{12}", "0.0833333333333333"),
    (r"\sqrt{2}", "1.41421356237310"),
    (r"\sqrt{2}", "1.4142135623731"),
    (r"\frac{1}{8}", "0.125000000000000"),
    ("12345678901234567890", "12345678901234567890.0"),
    ("12345678901234567890", "1.234567890123456789e19"),
]
ROUNDED_OTHER = [
    ("12345678901234567890", "1.23456789012e19"),
    ("12345678901234567890", r"1.23456789012 \times 10^{19}"),
    ("12345678901234567890", "12345678901200000000.0"),
    ("1.23456789012e19", "12345678901234567890"),
    (r"\frac{1}{8}", "0.125000000000001"),
    ("100!", r"9.33262154439441 \times 10^{157}"),
]
REPEATS_SAME = [
    ("7", "7, 7"),
    (r"\{7\}", r"\{7, 7\}"),
]
REPEATS_OTHER = [
    ("7", "7, 7, 7, 7, 7, 7, 7, 7, 7, 7"),
]
FACTORIALS_SAME = [
    ("3!!", "3"),
    ("5!!", "15"),
    ("6!!", "48"),
    ("(3!)!", "720"),
    (r"\frac{(2n)!}{2^n n!}", "(2n-1)!!"),
    ("(2n)!!", "2^n n!"),
    ("0!!", "1"),
    ("2^{3!!}", "8"),
    ("3!", "6"),
    ("99!!", r"\frac{100!}{2^{50} 50!}"),
]
FACTORIALS_OTHER = [
    ("3!!", "720"),
    ("(3!)!", "3!!"),
    ("(2n)!!", "(2n)!"),
    ("(2n-1)!!", "(2n+1)!!"),
]


@pytest.mark.parametrize(("truth", "answer"), SMALL_SAME)
def test_small_numbers_are_decided_where_they_can_be(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), SMALL_OTHER)
def test_what_is_too_small_to_see_is_not_equal(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), ROUNDED_SAME)
def test_a_float_is_a_rounding_of_what_no_decimal_is(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), ROUNDED_OTHER)
def test_a_whole_number_is_not_rounded(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), REPEATS_SAME)
def test_a_value_may_be_written_twice(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), REPEATS_OTHER)
def test_a_value_again_and_again_is_no_answer(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), FACTORIALS_SAME)
def test_every_second_factor(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), FACTORIALS_OTHER)
def test_two_signs_are_not_two_factorials(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)
