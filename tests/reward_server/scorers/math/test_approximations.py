"""After a name, the number behind ≈ is its value; after a value, it is an aside."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_equal

# ground truth, answer
APPROXIMATIONS_SAME = [
    (r"x \approx 3.14", "3.14"),
    (r"x \approx 3.14", "x = 3.14"),
    ("3.14", r"x \approx 3.14"),
    ("x = 3.14", r"x \approx 3.14"),
    ("x = 3.14", r"x \doteq 3.14"),
    (r"\epsilon \approx 0.08", r"\epsilon = 0.08"),
    (r"(x,y) \approx (1.2, 3.4)", "(1.2, 3.4)"),
    (r"(x,y) \approx (1.2, 3.4)", "(x,y) = (1.2, 3.4)"),
    (r"P(A) \approx 0.5", "0.5"),
    (r"f(x) \approx x^2", "x^2"),
    (r"I(\epsilon) \approx \frac{3}{\epsilon}", r"I(\epsilon) = \frac{3}{\epsilon}"),
    (r"\Delta p\approx -\frac{\hbar \omega_{L}}{c}", r"-\frac{\omega_{L} \hbar}{c}"),
    (r"\frac{\sqrt3}{3} \approx 0.577", r"\frac{\sqrt3}{3}"),
    (r"\frac{\sqrt3}{3}", r"\frac{\sqrt3}{3} \approx 0.577"),
    (r"x = \frac{\sqrt3}{3} \approx 0.577", r"\frac{\sqrt3}{3}"),
    (r"x \approx 1.5, y \approx 2.5", "x = 1.5, y = 2.5"),
    (r"x \approx 1.5, 2.5", "1.5, 2.5"),
    (r"x \approx 3.14 \text{ cm}", r"3.14 \text{ cm}"),
    (r"x < \sqrt{2} \approx 1.41", r"x < \sqrt 2"),
    (r"0.08 \approx \epsilon", r"\epsilon = 0.08"),
    (r"x \approx \frac{22}{7} \approx 3.142857", r"\frac{22}{7}"),
    (r"x + y \approx 5", "x + y = 5"),
    (r"\int_0^1 e^{x^2} dx \approx 1.46", "1.46"),
    (r"I = \int_0^1 e^{x^2} dx \approx 1.46", "1.46"),
    (r"\approx 3.14", "3.14"),
    (r"\pi \approx 3.14", r"\pi"),
    (r"\sqrt{2} \approx 1.4", r"\sqrt{2}"),
    (r"\frac{2}{3} \approx 67\%", r"\frac{2}{3}"),
    (r"x \approx \pm 1.5", r"\pm 1.5"),
    (r"x = y \approx 3", "3"),
    (r"x \approx -1.2", "-1.2"),
    (r"x_1 \approx 1.2, x_2 \approx 3.4", "1.2, 3.4"),
    (r"x \approx 1.2 \text{ or } x \approx 3.4", "1.2, 3.4"),
    (r"N \approx 3.2 \times 10^5", "320000"),
    (r"\lambda \approx 500 \text{ nm}", r"500 \text{ nm}"),
    (r"T_{max} \approx 300", "300"),
    (r"y = 2x \approx 2", "2x"),
    (r"\theta \approx 30^\circ", r"30^\circ"),
    ("x ≈ 3.14", "3.14"),
    (r"\text{Area} \approx 3.14", "3.14"),
    (r"\frac{1}{2} \approx 0.5", "0.5"),
    ("[1.2, 3.4]", r"x \in [1.2, 3.4]"),
]
APPROXIMATIONS_OTHER = [
    (r"x \approx 3.14", r"x \approx 2.71"),
    (r"x \approx 3.14", "x"),
    (r"x \approx 3.14", r"y \approx 3.14"),
    (r"x \doteq 3.14", r"x \doteq 3.15"),
    (r"(x,y) \approx (1.2, 3.4)", r"(x,y) \approx (1.2, 3.5)"),
    (r"(x,y) \approx (1.2, 3.4)", "(x,y)"),
    (r"P(A) \approx 0.5", r"P(A) \approx 0.9"),
    (r"P(A) \approx 0.5", "P(A)"),
    (r"f(x) \approx x^2", r"f(x) \approx x^3"),
    (r"I(\epsilon) \approx \frac{3}{\epsilon}", r"I(\epsilon) \approx \frac{4}{\epsilon}"),
    (r"I(\epsilon) \approx \frac{3}{\epsilon}", r"I(\epsilon)"),
    (r"\Delta p\approx -\frac{\hbar \omega_{L}}{c}", r"\Delta p"),
    (r"x = \frac{\sqrt3}{3} \approx 0.577", "0.577"),
    (r"x \approx 1.5, y \approx 2.5", r"x \approx 2.5, y \approx 1.5"),
    (r"x \approx 1.5, 2.5", "1.5, 2.6"),
    (r"x + y \approx 5", r"x + y \approx 6"),
    (r"x + y \approx 5", "x + y"),
    (r"\int_0^1 e^{x^2} dx \approx 1.46", "1.47"),
    (r"\frac{2}{3} \approx 67\%", r"67\%"),
    (r"y(x) \approx \frac{1}{x} + 2", r"y = \frac1x + 3"),
    (r"x \approx \pm 1.5", r"x \approx 1.5"),
    (r"a \le b", r"a \ge b"),
    (r"x \approx 1.2 \text{ or } x \approx 3.4", "1.2, 3.5"),
    (r"N \approx 3.2 \times 10^5", r"3.2 \times 10^6"),
    (r"\lambda \approx 500 \text{ nm}", r"600 \text{ nm}"),
    (r"\lambda \approx 500 \text{ nm}", r"500 \text{ mm}"),
    (r"\sqrt{2} \approx 1.414", "1.414"),
    (r"|z| \approx 3", r"|z| \approx 4"),
    (r"\sin x \approx x", r"\sin x \approx x^2"),
    (r"E(X) \approx 3", r"E(X) \approx 4"),
    (r"\theta \approx 30^\circ", r"31^\circ"),
    ("x ≈ 3.14", "3.15"),
    ("x ≃ 3.14", "3.15"),
    (r"x \approxeq 3", r"x \approxeq 4"),
    (r"\$x \approx 3", "3"),
    (r"\text{Area} \approx 3.14", "2.71"),
    (r"y \approx c_1 e^{x}", r"y \approx c_1 e^{2x}"),
    (r"3 < x \approx 4", r"5 < x \approx 4"),
]


@pytest.mark.parametrize(("truth", "answer"), APPROXIMATIONS_SAME)
def test_an_approximation_says_what_a_name_is_worth(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), APPROXIMATIONS_OTHER)
def test_the_value_of_an_approximation_counts(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)
