r"""Named functions such as `\sin` and `\log`, each as a rule from values to a value.

Real functions of exact numbers stay exact where that is cheap; all others return a ball.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, lcm

from flint import acb, fmpq, fmpz

from touchstone_rewards.reward_server.scorers.math.numbers.arithmetic import (
    Point,
    Undefined,
    Value,
    ball,
    divide,
    factorial,
    noted,
    power,
    watched,
)
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import spend

MAX_BINOMIAL = 5_000
FUNCTION_WORK = 4
COSTLY = {"gamma": 60, "zeta": 200, "erf": 60}


def apply(name: str, values: list[Value], point: Point) -> Value:
    """Return the value of the function called `name`.

    Raises:
        Undefined: there is no value here.
        TooMuchWork: the work budget of the verdict is exhausted.
    """
    spend(COSTLY.get(name, FUNCTION_WORK))
    if (several := _SEVERAL.get(name)) is not None:
        return several(values, point)
    if len(values) == 2 and name == "log":
        return divide(_log(values[0], point), _log(values[1], point))
    if len(values) != 1:
        raise Undefined(f"{name} of {len(values)} values")
    rule = _ONE_VALUE.get(name)
    if rule is None:
        raise Undefined(f"no rule for {name}")
    result = rule(values[0], point)
    return noted(result, point) if isinstance(result, acb) else result


def _root(values: list[Value], point: Point) -> Value:
    return power(values[0], divide(fmpq(1), values[1]), point)


def _log(value: Value, point: Point) -> Value:
    if isinstance(value, fmpq):
        if value == 0:
            raise Undefined("logarithm of zero")
        if value < 0:
            point.crossed = True
        return acb(value).log()
    if value.contains(0):
        raise Undefined("logarithm of zero")
    if not value.real > 0:
        point.crossed = True
    return value.log()


def _plain_log(value: Value, point: Point) -> Value:
    r"""Evaluate `\log` without a base: natural, or to base 10 if the point says so."""
    natural = _log(value, point)
    return divide(natural, _log(fmpq(10), point)) if point.common_logs else natural


def _abs(value: Value, point: Point) -> Value:
    return abs(value) if isinstance(value, fmpq) else acb(abs(value))


def _rounding(down: bool) -> Callable[[Value, Point], Value]:
    def rule(value: Value, point: Point) -> Value:
        if isinstance(value, fmpq):
            return fmpq(value.floor() if down else value.ceil())
        if not value.imag.contains(0):
            raise Undefined("rounding a complex number")
        whole = (value.real.floor() if down else value.real.ceil()).unique_fmpz()
        if whole is None:
            raise Undefined("rounding at a jump")
        return fmpq(whole)

    return rule


def _sign(value: Value, point: Point) -> Value:
    if isinstance(value, fmpq):
        return fmpq((value > 0) - (value < 0))
    if value.contains(0) or not value.imag.contains(0):
        raise Undefined("sign of a value that may be zero")
    return fmpq(1 if value.real > 0 else -1)


def _of_ball(rule: Callable[[acb], acb]) -> Callable[[Value, Point], Value]:
    return lambda value, point: rule(ball(value))


def _inverse_of(rule: Callable[[acb], acb]) -> Callable[[Value, Point], Value]:
    """Define inverse functions by a reciprocal: arcsec x = arccos 1/x, and the like."""
    return lambda value, point: rule(ball(divide(fmpq(1), value)))


_DIRECT = (
    "sin cos tan cot sec csc sinh cosh tanh coth sech csch asin acos atan asinh acosh atanh exp "
    "gamma erf zeta"
)
_DIRECT_RULES = {name: _of_ball(getattr(acb, name)) for name in _DIRECT.split()}
_ONE_VALUE: dict[str, Callable[[Value, Point], Value]] = {
    **_DIRECT_RULES,
    **{f"arc{name[1:]}": rule for name, rule in _DIRECT_RULES.items() if name[0] == "a"},
    "arcsec": _inverse_of(acb.acos),
    "arccsc": _inverse_of(acb.asin),
    "arccot": _inverse_of(acb.atan),
    "ln": _log,
    "log": _plain_log,
    "lg": lambda value, point: divide(_log(value, point), _log(fmpq(10), point)),
    "lb": lambda value, point: divide(_log(value, point), _log(fmpq(2), point)),
    "abs": _abs,
    "floor": _rounding(True),
    "ceil": _rounding(False),
    "sign": _sign,
    "Re": lambda value, point: value if isinstance(value, fmpq) else acb(value.real),
    "Im": lambda value, point: fmpq(0) if isinstance(value, fmpq) else acb(value.imag),
    "arg": lambda value, point: acb(ball(value).arg()),
    "conj": lambda value, point: value if isinstance(value, fmpq) else value.conjugate(),
    "cis": lambda value, point: (ball(value) * acb(0, 1)).exp(),
}


def _extreme(largest: bool) -> Callable[[list[Value], Point], Value]:
    def rule(values: list[Value], point: Point) -> Value:
        best = values[0]
        for value in values[1:]:
            order = _compare(value, best)
            if (order > 0) == largest and order:
                best = value
        return best

    return rule


def _compare(left: Value, right: Value) -> int:
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        return (left > right) - (left < right)
    difference = (ball(left) - ball(right)).real
    if difference > 0:
        return 1
    if difference < 0:
        return -1
    return 0


def _whole_numbers(rule: Callable[..., int]) -> Callable[[list[Value], Point], Value]:
    def of_values(values: list[Value], point: Point) -> Value:
        whole: list[int] = []
        for value in values:
            if not isinstance(value, fmpq) or value.q != 1:
                raise Undefined("whole numbers expected")
            whole.append(int(value.p))
        return fmpq(rule(*whole))

    return of_values


def _binomial(values: list[Value], point: Point) -> Value:
    if len(values) != 2:
        raise Undefined("a binomial of two values")
    n, k = values
    if isinstance(n, fmpq) and isinstance(k, fmpq) and n.q == k.q == 1 and 0 <= n <= MAX_BINOMIAL:
        if not 0 <= k <= n:
            return fmpq(0)
        return watched(fmpq(fmpz.bin_uiui(int(n.p), int(k.p))), point)
    return divide(factorial(n, point), factorial(k, point) * factorial(n - k, point))


_SEVERAL: dict[str, Callable[[list[Value], Point], Value]] = {
    "root": _root,
    "max": _extreme(True),
    "min": _extreme(False),
    "gcd": _whole_numbers(gcd),
    "lcm": _whole_numbers(lcm),
    "binom": _binomial,
}
