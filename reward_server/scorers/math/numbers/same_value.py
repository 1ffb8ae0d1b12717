"""Decide whether two expressions have the same value.

Constants are compared as exact rationals, or as balls of rising precision until they separate or
agree to 300 bits. Expressions with variables are compared at pseudorandom points seeded by the pair
itself, so verdicts are reproducible; rational functions are exact there. An undecided comparison
counts as not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flint import acb, arb, fmpq
from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.numbers.arithmetic import (
    Point,
    Undefined,
    Value,
    ball,
    is_real,
    precision,
)
from touchstone_rewards.reward_server.scorers.math.numbers.evaluate import evaluate
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import at_rate
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

FIRST_BITS, CONSTANT_BITS, POINT_BITS = 64, 320, 192
SMALL_BITS = 16  # of a number that any precision resolves
SPARE_BITS, MAX_BALL_BITS = 128, 1 << 11  # added to the bits needed to resolve a number at all
MAX_REACHING_FACTORIAL = 1_000
AGREEING_POINTS = 3
APART = "apart at a point"
# A number smaller than this share of its terms counts as zero.
TINY, _ONE = arb(2) ** -90, arb(1)
_JAGGED = frozenset(["abs", "floor", "ceil", "sign", "max", "min", "root", "log", "ln", "lg", "lb"])
_COMPLEX = frozenset(["Re", "Im", "arg", "cis", "conj"])
_TURNING = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "floor", "ceil"])
# Evaluated numerically, with a variable of their own; and unevaluated operators.
BINDING = frozenset(["limit", "integral", "infinite sum", "other"])
WHOLE_LETTERS = frozenset("nkmjNKM")


# Scale, shift and signs of the sampled points, in order.
_PLANS: tuple[tuple[int, int, str], ...] = (
    (1, 0, "+"), (4, 1, "+"), (3, 0, "-"), (1, 0, "+"), (9, 1, "+"), (1, 0, "-"), (40, 3, "+"),
    (30, 2, "-"),
)  # fmt: skip


class Features(Struct):
    """Properties of a tree that determine where it must be sampled."""

    names: set[str]
    imaginary: bool = False
    jagged: bool = False  # abs, roots, rounding: nearby points do not suffice
    turning: bool = False  # (-1)^n, \sin n\pi: whole numbers are special
    logs: bool = False  # contains \log without a base
    whole: bool = False  # contains gcd or lcm: defined at whole numbers only
    series: bool = False  # contains a sum up to n
    angles: bool = False  # contains π
    largest: fmpq = fmpq(1)
    reach: int = 0  # distance in bits of its smallest or largest number from 1


def features(*nodes: Node) -> Features:
    """Return the combined features of the trees."""
    found = Features(set())
    pending = list(nodes)
    for node in pending:  # grows during the loop
        op = node.op
        if op == "num":
            if (bits := node.value.height_bits()) > SMALL_BITS:
                _reach(found, 2 * bits)
            if (size := abs(node.value)) > found.largest:
                found.largest = size
        elif op == "name":
            found.names.add(node.value)
        else:
            if (note := _NOTES.get(op)) is not None:
                note(node, found)
            if op not in BINDING:  # they bind names of their own
                pending += node.args
    return found


def _note_constant(node: Node, found: Features) -> None:
    found.imaginary = found.imaginary or node.value == "i"
    found.angles = found.angles or node.value == "pi"


def _note_call(node: Node, found: Features) -> None:
    found.jagged = found.jagged or node.value in _JAGGED
    found.turning = found.turning or node.value in _TURNING
    found.imaginary = found.imaginary or node.value in _COMPLEX
    found.whole = found.whole or node.value in ("gcd", "lcm")
    found.logs = found.logs or (node.value == "log" and len(node.args) == 1)


def _reach(found: Features, bits: int) -> None:
    if bits > found.reach:
        found.reach = bits


def _note_factorial(node: Node, found: Features) -> None:
    of = node.args[0]
    if of.op == "num" and 0 < of.value <= MAX_REACHING_FACTORIAL:
        number = int(of.value.ceil())
        _reach(found, number * number.bit_length())
    found.turning = found.turning or node.value == 2


def _note_power(node: Node, found: Features) -> None:
    base, exponent = node.args
    if exponent.op == "num" and base.op in ("num", "const"):
        size = 2 * base.value.height_bits() if base.op == "num" else 2
        _reach(found, int(abs(exponent.value).ceil()) * size)
    if exponent.op != "num" or exponent.value.q != 1:
        found.jagged = True
        found.turning = found.turning or base.op == "neg" or (base.op == "num" and base.value < 0)


def _note_unknown(node: Node, found: Features) -> None:
    found.names.add(f"{node.value}()")


def _note_series(node: Node, found: Features) -> None:
    found.series = True


def _note_mod(node: Node, found: Features) -> None:
    found.turning = True


def _note_bound(node: Node, found: Features) -> None:
    inner = features(*node.args)
    bound = node.value[0] if node.op == "limit" else node.value
    found.names |= inner.names - {bound}
    found.imaginary = found.imaginary or inner.imaginary
    found.jagged = found.jagged or inner.jagged
    found.logs = found.logs or inner.logs


_NOTES: dict[str, Callable[[Node, Features], None]] = {
    "const": _note_constant,
    "call": _note_call,
    "pow": _note_power,
    "fact": _note_factorial,
    "index": _note_unknown,
    "opaque": _note_unknown,
    "sum": _note_series,
    "prod": _note_series,
    "mod": _note_mod,
    "limit": _note_bound,
    "integral": _note_bound,
    "infinite sum": _note_bound,
}


def is_constant(node: Node) -> bool:
    """Tell whether the expression has no variable."""
    return not features(node).names


def constant_value(node: Node, bits: int = FIRST_BITS) -> Value | None:
    """Return the value of a constant; None if it is undefined or has a variable."""
    try:
        precision(bits)
        return evaluate(node, Point(0)) if is_constant(node) else None
    except (Undefined, Unreadable):
        return None


def same_value(left: Node, right: Node, seed: int) -> tuple[bool, str]:
    """Return whether two expressions have the same value, and the method that decided.

    Raises:
        Unreadable: one of them is not an expression.
    """
    if left.op == right.op == "num":
        return left.value == right.value, "exact rationals"
    found = features(left, right)
    equal, method = _same(left, right, seed, found)
    if not equal and found.logs:
        common, how = _same(left, right, seed, found, common_logs=True)
        return (True, f"{how}, log to base 10") if common else (equal, method)
    return equal, method


def _same(
    left: Node, right: Node, seed: int, found: Features, common_logs: bool = False
) -> tuple[bool, str]:
    """Compare at the precision that the numbers need; higher precision costs more of the budget."""
    rate = (_bits_to_tell(POINT_BITS, found) // POINT_BITS) ** 2
    if rate == 1:
        return _same_at(left, right, seed, found, common_logs)
    with at_rate(rate):
        return _same_at(left, right, seed, found, common_logs)


def _same_at(
    left: Node, right: Node, seed: int, found: Features, common_logs: bool
) -> tuple[bool, str]:
    if not found.names:
        return _same_constant(left, right, found, common_logs)
    if found.series:
        return _same_at_whole_numbers(left, right, seed, found)
    equal, method = _same_at_points(left, right, seed, found, common_logs)
    if not equal and (found.whole or (found.turning and found.names <= WHOLE_LETTERS)):
        return _same_at_whole_numbers(left, right, seed, found)
    return equal, method


def _bits_to_tell(bits: int, found: Features) -> int:
    """Return `bits`, or more if the numbers are too small to be resolved with them."""
    return max(bits, min(found.reach + SPARE_BITS, MAX_BALL_BITS))


def _same_constant(left: Node, right: Node, found: Features, common_logs: bool) -> tuple[bool, str]:
    agree, bits, point = None, FIRST_BITS, Point(0)
    try:
        for bits in (FIRST_BITS, _bits_to_tell(CONSTANT_BITS, found)):
            precision(bits)
            point = Point(0)
            point.common_logs = common_logs
            a, b = evaluate(left, point), evaluate(right, point)
            if isinstance(a, fmpq) and isinstance(b, fmpq):
                return a == b, "exact rationals"
            agree = _agree(a, b)
            if agree is False:
                return False, f"balls apart at {bits} bits"
    except Undefined as undefined:
        return False, f"no value: {undefined}"
    if not agree or point.lossy:
        return False, "undecided"
    return True, f"balls agree at {bits} bits"


def _small(difference: acb, a: Value, b: Value) -> bool:
    """Tell whether the difference, which may be zero, is small relative to the two values.

    If both may be zero, it is compared with 1. If one may not, the size of that one is used:
    sin(π), which looks like zero, is not 1/100!.
    """
    sizes = [ball(value).abs_upper() for value in (a, b) if not _may_be_zero(value)]
    return bool(difference.abs_upper() < TINY * max(sizes, default=_ONE))


def _may_be_zero(value: Value) -> bool:
    return value == 0 if isinstance(value, fmpq) else value.contains(0)


def _points(seed: int, found: Features, common_logs: bool) -> Iterator[Point]:
    """Yield points near 0, farther out and negative.

    For jagged expressions, also yield points beyond every constant and with mixed signs.
    """
    plans = _PLANS
    if found.jagged:
        far = int(min(found.largest, fmpq(10**9)).ceil())
        plans = (_PLANS[0], (far, far + 7, "-"), (far, far + 7, "+"), (3, 0, "*"), *_PLANS[1:])
    for number, (scale, shift, signs) in enumerate(plans):
        point = Point(seed + number * 7919, scale, shift, signs)
        point.common_logs = common_logs
        yield point


def _same_at_points(
    left: Node, right: Node, seed: int, found: Features, common_logs: bool
) -> tuple[bool, str]:
    precision(_bits_to_tell(POINT_BITS, found))
    wanted = AGREEING_POINTS + 2 * found.jagged
    agreed = complex_agreed = complex_apart = 0
    exact = True
    for point in _points(seed, found, common_logs):
        try:
            a, b = evaluate(left, point), evaluate(right, point)
        except Undefined:
            continue
        agree = None if point.lossy else _agree(a, b)
        if agree is None:
            continue  # too large or too imprecise to show a difference
        real = not point.crossed and is_real(a) and is_real(b)
        if not real and not found.imaginary:  # outside the domain where both are real
            complex_agreed, complex_apart = complex_agreed + agree, complex_apart + (not agree)
            continue
        if not agree:
            return False, APART
        agreed += 1
        exact = exact and isinstance(a, fmpq) and isinstance(b, fmpq)
        if agreed >= wanted:
            break
    if agreed == 0:
        agreed = 0 if complex_apart else complex_agreed
        exact = False
    if agreed < 2:
        return False, "no points to compare at"
    return True, f"agree at {agreed} points" + (", exactly" if exact else "")


def _agree(a: Value, b: Value) -> bool | None:
    """Tell whether the two are the same; None if the balls overlap but are too wide."""
    if isinstance(a, fmpq) and isinstance(b, fmpq):
        return a == b
    difference = ball(a) - ball(b)
    if not difference.contains(0):
        return False
    return True if _small(difference, a, b) else None


def _same_at_whole_numbers(left: Node, right: Node, seed: int, found: Features) -> tuple[bool, str]:
    """Compare at whole numbers, even and odd ones: for n, k, m, and for sums up to n."""
    names = sorted(name for name in found.names if not name.endswith(")"))
    agreed = 0
    for step in range(6):
        point = Point(seed)
        for place, name in enumerate(names):
            point.bindings[name] = fmpq(2 + (step * (2 * place + 1) + place * 3) % 11)
        try:
            a, b = evaluate(left, point), evaluate(right, point)
        except Undefined:
            continue
        if point.lossy or not _agree(a, b):
            return False, "apart at a whole number"
        agreed += 1
    return agreed >= 4, f"agree at {agreed} whole numbers"


def constant_ratio(left: Node, right: Node, seed: int) -> Value | None:
    """Return the constant c in `left` = c * `right`, or None if the ratio is not constant."""
    found = features(left, right)
    precision(POINT_BITS)
    first: Value | None = None
    agreed = 0
    for point in _points(seed, found, False):
        try:
            a, b = evaluate(left, point), evaluate(right, point)
            ratio = _ratio(a, b)
        except Undefined:
            continue
        if ratio is None:
            return None
        if not found.imaginary and not (is_real(a) and is_real(b)):
            continue
        if first is None:
            first = ratio
        elif not _agree(first, ratio):
            return None
        agreed += 1
        if agreed > AGREEING_POINTS:
            break
    return first if agreed >= AGREEING_POINTS else None


def _ratio(a: Value, b: Value) -> Value | None:
    """Return a / b, or None if exactly one of them is zero."""
    a_zero, b_zero = _may_be_zero(a), _may_be_zero(b)
    if a_zero and b_zero:
        raise Undefined("0/0")
    return None if a_zero or b_zero else a / b


def is_positive(value: Value) -> bool:
    if isinstance(value, fmpq):
        return value > 0
    return value.imag.contains(0) and bool(value.real > 0)


def real_value(node: Node) -> arb | None:
    """Return a constant as a real ball at 128 bits, or None."""
    value = constant_value(node, 128)
    if value is None:
        return None
    if isinstance(value, acb):
        return value.real if value.imag.contains(0) else None
    return arb(value)
