"""Derivatives: names in every spelling; a derivative of an expression is computed."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, math_equal

# ground truth, answer
DERIVATIVES_SAME = [
    (r"\frac{d}{dx}x^2", "2x"),
    ("2x", r"\frac{d}{dx}x^2"),
    (r"\frac{d}{dx}x^2 = 2x", "2x"),
    ("2x", r"\frac{d}{dx}(x^2) = 2x"),
    (r"\frac{d}{dx}\sin(x^2)", r"2x\cos(x^2)"),
    (r"\frac{d}{dx}\left[x e^x\right]", "(1+x)e^x"),
    (r"\frac{d^2}{dx^2} x^3", "6x"),
    (r"\frac{d}{dx} \ln x", r"\frac1x"),
    (r"\frac{d}{dx} \sqrt{x}", r"\frac{1}{2\sqrt x}"),
    (r"\frac{d}{dx} a x^2", "2ax"),
    (r"\frac{\partial}{\partial x}(x^2y)", "2xy"),
    (r"\frac{\partial}{\partial y}(x^2y)", "x^2"),
    (r"\frac{\mathrm{d}}{\mathrm{d}x} x^2", "2x"),
    ("d/dx x^2", "2x"),
    (r"\frac{d}{dx} x^x", r"x^x(\ln x + 1)"),
    (r"\frac{dy}{dx} = 2x", "y' = 2x"),
    (r"\frac{dy}{dx} = 2x", "2x"),
    (r"\frac{dy}{dx} = 2x", "dy/dx = 2x"),
    (r"\frac{dy}{dx} = 2x", "y'(x) = 2x"),
    ("y' = 2x", r"\frac{dy}{dx} = 2x"),
    ("y' = 2x", r"\frac{\mathrm{d}y}{\mathrm{d}x} = 2x"),
    (r"\frac{d^2y}{dx^2} + y = 0", "y'' + y = 0"),
    ("d^2y/dx^2 + y = 0", "y'' + y = 0"),
    (r"m \frac{d v}{d t}+b v=f", "m dv/dt + bv = f"),
    (r"m \frac{d v}{d t}+b v=f", r"m\dot{v} + bv = f"),
    (r"m \frac{d v}{d t}+b v=f", "m v' + bv = f"),
    (r"m \frac{d^2 x}{d t^2} = F", r"m\ddot{x} = F"),
    (r"\dot x = x", r"\frac{dx}{dt} = x"),
    (r"\frac{\partial u}{\partial t} = k\frac{\partial^2 u}{\partial x^2}", "u_t = k u_{xx}"),
    (r"\frac{\partial f}{\partial x} = 2x", "2x"),
    (r"\frac{\partial^2 f}{\partial x \partial y}", r"\frac{\partial^2 f}{\partial y \partial x}"),
    ("∂f/∂x", r"\frac{\partial f}{\partial x}"),
    (r"\frac{d f(x)}{dx} = 2x", "f'(x) = 2x"),
    (r"\frac{df}{dx} = 2x", "f'(x) = 2x"),
    ("f'(x) = 2x", "2x"),
    ("y'' + y = 0", "y + y'' = 0"),
    ("y^{(4)} + y = 0", "y'''' + y = 0"),
    ("y^{(4)} + y = 0", r"\frac{d^4y}{dx^4} + y = 0"),
    ("f^{(3)}(x)", "f'''(x)"),
    ("x^{(2)}", "x^2"),
    (r"\frac{dV}{dt} = -kV", "V' = -kV"),
    (r"\frac{dP}{dt} = rP(1-P/K)", "P' = rP(1-P/K)"),
    (r"\frac{dP}{dt} = 5", "5"),
    (r"\frac{dA}{dt} = 20\pi \text{ cm}^2\text{/s}", r"20\pi"),
    (r"\frac{ad}{bd}", r"\frac{a}{b}"),
    (r"\frac{d}{2}", "0.5d"),
    (r"\frac{d}{v}", "d/v"),
    (r"\frac{2d}{dx}", r"\frac{2}{x}"),
    (r"\int \frac{dx}{x}", r"\int \frac{dx}{x}"),
    (r"\frac{a}{d}", "a/d"),
    (r"\frac{dy}{dx} = \frac{x}{y}", r"\frac{x}{y}"),
    (r"x\,dy + y\,dx = 0", r"y\,dx + x\,dy = 0"),
    (r"x\frac{dy}{dx} + y = 0", "xy' + y = 0"),
    (r"(1+x^2)\frac{dy}{dx} = 1", "(1+x^2) y' = 1"),
    (r"\frac{dy}{dx} = 2x, \frac{d^2y}{dx^2} = 2", "y'=2x, y''=2"),
    ("3 + d/c", r"3 + \frac dc"),
    ("5! = 120", "120"),
]
DERIVATIVES_OTHER = [
    (r"\frac{d}{dx}x^2", "x"),
    (r"\frac{d}{dx}x^2", "x^2"),
    (r"\frac{d}{dx}x^2 = 2x", "3x"),
    ("3x", r"\frac{d}{dx}(x^2) = 3x"),
    (r"\frac{d}{dx}\sin(x^2)", r"\cos(x^2)"),
    (r"\frac{d^2}{dx^2} x^3", "3x^2"),
    (r"\frac{\partial}{\partial y}(x^2y)", "2xy"),
    ("d/dx (x^2)", "x"),
    (r"\frac{dy}{dx} = 2x", r"\frac{y}{x} = 2x"),
    (r"\frac{dy}{dx} = 2x", "y = 2x"),
    (r"\frac{dy}{dx} = 2x", r"\frac{dy}{dt} = 2x"),
    (r"\frac{dy}{dx} = 2x", r"\frac{dx}{dy} = 2x"),
    (r"\frac{dy}{dx} = 2x", "y'' = 2x"),
    (r"\frac{d^2y}{dx^2} + y = 0", "y' + y = 0"),
    (r"\frac{d^2y}{dx^2} + y = 0", r"\frac{dy}{dx} + y = 0"),
    (r"\frac{d^2y}{dx^2} + y = 0", r"\left(\frac{dy}{dx}\right)^2 + y = 0"),
    (r"m \frac{d v}{d t}+b v=f", r"m\frac{v}{t}+bv=f"),
    (r"m \frac{d^2 x}{d t^2} = F", r"m\dot{x} = F"),
    (r"\dot x = x", r"\frac{dx}{ds} = x"),
    (r"\dot x = y", r"\dot y = x"),
    (r"\frac{\partial u}{\partial t} = k\frac{\partial^2 u}{\partial x^2}", "u_t = k u_{x}"),
    (
        r"\frac{\partial u}{\partial t} = k\frac{\partial^2 u}{\partial x^2}",
        r"\frac{u}{t} = k \frac{u}{x^2}",
    ),
    (r"\frac{\partial f}{\partial x} = 2x", r"\frac{f}{x} = 2x"),
    (r"\frac{\partial^2 f}{\partial x \partial y}", r"\frac{\partial^2 f}{\partial x^2}"),
    ("∂f/∂x", r"\frac{f}{x}"),
    ("f'(x) = 2x", "f(x) = 2x"),
    ("f'(x) = 2x", "f''(x) = 2x"),
    ("f'(x) = 2x", "g'(x) = 2x"),
    ("y^{(4)} + y = 0", "y^4 + y = 0"),
    ("f^{(3)}(x)", "f^3(x)"),
    ("f^{(n)}(x) = n!", "f^n(x) = n!"),
    (r"\frac{dy}{dx} = \frac{x}{y}", r"\frac{y}{x}"),
    (r"y' = \frac{x}{y}", r"\frac{dy}{dx} = \frac{y}{x}"),
    (r"\frac{dy}{dx} = 2x, \frac{d^2y}{dx^2} = 2", "y''=2x, y'=2"),
]


@pytest.mark.parametrize(("truth", "answer"), DERIVATIVES_SAME)
def test_a_derivative_is_the_same_in_every_spelling(truth: str, answer: str) -> None:
    assert math_equal(answer, truth)


@pytest.mark.parametrize(("truth", "answer"), DERIVATIVES_OTHER)
def test_a_derivative_is_no_quotient(truth: str, answer: str) -> None:
    assert not math_equal(answer, truth)


@pytest.mark.parametrize(
    "truth",
    [r"\frac{d}{dx} (xy)", r"\frac{d}{dx}\int_0^x f(t)dt", r"\frac{d}{dx} \lfloor x \rfloor"],
)
def test_a_derivative_without_a_rule_is_kept_unread(truth: str) -> None:
    assert math_equal(truth, truth)
    with pytest.raises(UnreadableGroundTruth):
        math_equal("y", truth)
