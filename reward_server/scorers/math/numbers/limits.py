"""Evaluate limits, definite integrals and infinite sums of constants numerically, as balls.

Each is computed in two different ways, and has a value only if both agree to more bits than any
comparison needs. Otherwise it is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from math import comb

from flint import acb, arb, ctx, fmpq

from touchstone_rewards.reward_server.scorers.math.numbers.arithmetic import (
    ZERO,
    Point,
    Undefined,
    Value,
    ball,
)
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import METER, spend
from touchstone_rewards.reward_server.scorers.math.tree import Node, contains

WORK = 2_800  # of a verdict's budget, for one of these, whatever its content
MAX_NODES = 40  # of its content
BITS = 1_400  # spare bits against cancellation
INTEGRAL_BITS = 320
AGREED = arb(2) ** -100
NEAR = 300  # a limit is evaluated 2^-NEAR from its point, or at 2^NEAR
LEVIN_TERMS = (48, 60)
FAR_TERM = 1 << 14  # a term that decides convergence of the sum
STEPS = (fmpq(1, 20), fmpq(1, 28))  # of the two integrations between finite ends
WIDE_STEPS = (fmpq(1, 40), fmpq(1, 56))  # and with one infinite end
REACH, WIDE_REACH = fmpq(9, 2), 5  # beyond it the weights of the quadrature vanish
INNER_WORK = 40_000  # budget for the many values of one of these

_BINDING = frozenset(["limit", "integral", "infinite sum", "sum", "prod", "other"])

Integrand = Callable[[Node, Point], Value]


def _at(node: Node, name: str, place: Value, point: Point, body: Integrand) -> acb:
    """Return the value of `node` with the bound variable at `place`."""
    outer = point.bindings.get(name)
    point.bindings[name] = place  # type: ignore[assignment]
    try:
        return ball(body(node, point))
    finally:
        if outer is None:
            point.bindings.pop(name, None)
        else:
            point.bindings[name] = outer


def _settled(first: acb, second: acb) -> acb:
    """Return the common value, with the agreed tolerance as its radius.

    Raises:
        Undefined: the two differ by more.
    """
    apart = (first - second).abs_upper()
    size = first.abs_upper()
    if not (first.is_finite() and apart < AGREED * (size if size > 1 else arb(1))):
        raise Undefined("the two computations do not agree")
    return acb(arb(first.real.mid(), AGREED), arb(first.imag.mid(), AGREED))


@contextmanager
def _apart(node: Node, bits: int) -> Generator[None]:
    """Run the block at higher precision and on a fixed work budget, then restore the caller's.

    Raises:
        Undefined: the node is too large, or contains another limit, integral or sum.
    """
    inner = node.args[-1]
    if contains(inner, _BINDING) or _size(inner) > MAX_NODES:
        raise Undefined("the expression is too large")
    left, before = METER.left, ctx.prec
    METER.left, ctx.prec = INNER_WORK, bits
    try:
        yield
    finally:
        METER.left, ctx.prec = left, before


def _size(node: Node) -> int:
    return 1 + sum(map(_size, node.args))


def limit(node: Node, point: Point, body: Integrand) -> Value:
    r"""Evaluate `\lim_{x \to a}` very near a, from both sides unless one is given.

    Raises:
        Undefined: the values near a differ.
    """
    name, side = node.value
    place, inner = node.args
    spend(WORK)
    with _apart(node, BITS):
        if place.op == "const" or place.op == "neg":
            sign = -1 if place.op == "neg" else 1
            places = [fmpq(sign * n) * fmpq(2) ** NEAR for n in (2, 3)]
        else:
            at = body(place, point)
            steps = [fmpq(n, 2) * fmpq(1, 2) ** NEAR for n in (2, 3)]
            signs = {"+": (1,), "-": (-1,)}.get(side, (1, -1))
            places = [at + step * sign for sign in signs for step in steps]
        values = [_at(inner, name, each, point, body) for each in places]
        return [_settled(values[0], value) for value in values[1:]][-1]


def infinite_sum(node: Node, point: Point, body: Integrand) -> Value:
    r"""Evaluate `\sum_{n=a}^{\infty}` of constants.

    Raises:
        Undefined: it has a variable, or does not converge.
    """
    spend(WORK)
    return _remembered(node, _infinite_sum, body)


@lru_cache(maxsize=256)
def _remembered(
    node: Node, rule: Callable[[Node, Point, Integrand], Value], body: Integrand
) -> Value:
    """Return the cached value of a node without variables, which serves all precisions."""
    if _names(node) - {node.value}:
        raise Undefined("a variable in it")
    return rule(node, Point(0), body)


def _names(node: Node) -> set[str]:
    own = {str(node.value)} if node.op in ("name", "index", "opaque") else set[str]()
    return own.union(*map(_names, node.args))


def _infinite_sum(node: Node, point: Point, body: Integrand) -> Value:
    r"""Evaluate `\sum_{n=a}^{\infty}` by Levin's u-transform of two orders.

    Raises:
        Undefined: the terms do not vanish fast enough, or the orders differ.
    """
    start = body(node.args[0], point)
    if not isinstance(start, fmpq) or start.q != 1:
        raise Undefined("a sum whose start is not a whole number")
    with _apart(node, BITS):
        terms = [
            _at(node.args[1], node.value, start + at, point, body) for at in range(LEVIN_TERMS[1])
        ]
        _check_vanishing(node, start, point, body)
        while terms and terms[0] == 0:
            terms = terms[1:]
        if len(terms) < LEVIN_TERMS[0]:
            raise Undefined("a sum with too few terms")
        return _settled(_levin(terms[: LEVIN_TERMS[0]]), _levin(terms))


def _check_vanishing(node: Node, start: fmpq, point: Point, body: Integrand) -> None:
    """Check that the terms vanish faster than 1/n, or alternate.

    Raises:
        Undefined: they do not.
    """
    far = [
        _at(node.args[1], node.value, start + at, point, body)
        for at in (FAR_TERM, FAR_TERM + 1, FAR_TERM**2, FAR_TERM**2 + 1)
    ]
    sizes = [value.abs_upper() for value in far]
    alternating = bool((far[0] * far[1]).real < 0) and bool((far[2] * far[3]).real < 0)
    falls = sizes[2] * (1 if alternating else FAR_TERM) < sizes[0] * fmpq(1, 2)
    if not falls and not (sizes[0] < AGREED and sizes[2] < AGREED):
        raise Undefined("a sum that may not converge")


def _levin(terms: list[acb]) -> acb:
    above = below = acb(0)
    total = acb(0)
    count = len(terms) - 1
    for at, term in enumerate(terms):
        total += term
        if term.contains(0):
            raise Undefined("a sum with a term of zero")
        weight = (-1) ** at * comb(count, at) * acb(at + 1) ** (count - 1) / (term * (at + 1))
        above += weight * total
        below += weight
    return above / below


def integral(node: Node, point: Point, body: Integrand) -> Value:
    """Evaluate a definite integral of constants.

    Raises:
        Undefined: it has a variable, or does not converge.
    """
    spend(WORK)
    return _remembered(node, _integral, body)


def _integral(node: Node, point: Point, body: Integrand) -> Value:
    """Evaluate a definite integral by the double exponential rule with two step sizes.

    Raises:
        Undefined: the results differ, for example if the integrand is not smooth.
    """
    low, high, inner = node.args
    with _apart(node, INTEGRAL_BITS):
        ends: list[Value | None] = [
            None if _is_infinite(end) else body(end, point) for end in (low, high)
        ]
        halves: list[list[Value | None]] = (
            [[None, ZERO], [ZERO, None]] if ends == [None, None] else [ends]
        )
        values = [
            _sum_of_weights(half, step, lambda x: _at(inner, node.value, x, point, body))
            for step in (WIDE_STEPS if None in ends else STEPS)
            for half in halves
        ]
        count = len(halves)
        return _settled(sum(values[:count], acb(0)), sum(values[count:], acb(0)))


def _is_infinite(end: Node) -> bool:
    bare = end.args[0] if end.op == "neg" else end
    return bare.op == "const" and bare.value == "inf"


def _sum_of_weights(ends: list[Value | None], step: fmpq, value: Callable[[Value], acb]) -> acb:
    total = acb(0)
    count = int(((WIDE_REACH if None in ends else REACH) / step).floor())
    for number in range(-count, count + 1):
        place, weight = _node_of(ends, acb(step * number))
        total += value(place) * weight
    return total * acb(step)


def _node_of(ends: list[Value | None], t: acb) -> tuple[acb, acb]:
    """Return the abscissa and weight of the rule at t.

    The rule is tanh-sinh between finite ends, exp-sinh with one infinite end.
    """
    half_pi = acb.pi() / 2
    inner, slope = half_pi * t.sinh(), half_pi * t.cosh()
    low, high = ends
    if low is not None and high is not None:
        middle, half = (ball(low) + ball(high)) / 2, (ball(high) - ball(low)) / 2
        return middle + half * inner.tanh(), half * slope / inner.cosh() ** 2
    if low is not None:
        grown = inner.exp()
        return ball(low) + grown, grown * slope
    grown = inner.exp()
    return ball(ZERO if high is None else high) - grown, grown * slope
