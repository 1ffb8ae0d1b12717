"""A tree and a point in, its value there out: an exact rational where it can, else a ball.

A ball (flint's acb) holds the true value for certain, so two that do not meet are unlike. Nothing
here decides; nothing huge is ever written out: past `MAX_BITS` a rational becomes a ball.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from flint import acb, arb, ctx, fmpq, fmpz

from reward_server.scorers.math.tree import Node, Unreadable
from reward_server.scorers.math.work import METER, TooMuchWork, spend

Value = fmpq | acb

MAX_BITS = 1 << 16  # of an exact power; beyond it a ball of the same number
MAX_EXACT_BITS = 1 << 17  # of an exact sum or product
BIG_BITS = 512  # from here on sizes are watched
MAX_TERMS = 400  # of a sum or product that is written out
MAX_FACTORIAL = 3_000
GAMMA_WORK, GENERIC_WORK, POWER_WORK = 60, 8, 3
_PARTS = 1 << 14  # drawn values are odd 16384ths: as an exponent never an odd root
_ZERO, _ONE, _HALF = fmpq(0), fmpq(1), fmpq(1, 2)


class Undefined(Exception):
    """The expression has no value here: a division by zero, a logarithm of zero."""


class Point:
    """A value for every variable, made when asked for and the same for the same seed.

    `scale` bounds the values; `signs` says how they are signed: `+`, `-`, or `*` for either.
    After an evaluation `crossed` tells that a root or logarithm of a negative number was taken,
    and `lossy` that something was added to a number too large to show it.
    """

    __slots__ = (
        "big",
        "bindings",
        "common_logs",
        "crossed",
        "huge",
        "lossy",
        "scale",
        "seed",
        "shift",
        "signs",
    )

    def __init__(self, seed: int, scale: int = 1, shift: int = 0, signs: str = "+") -> None:
        self.seed, self.scale, self.shift, self.signs = seed, scale, shift, signs
        self.bindings: dict[str, fmpq] = {}
        self.big = self.crossed = self.huge = self.lossy = self.common_logs = False

    def __getitem__(self, name: str) -> fmpq:
        value = self.bindings.get(name)
        if value is None:
            drawn = crc32(name.encode("utf-8", "replace"), self.seed)
            value = fmpq((drawn >> 4) % _PARTS | 1, _PARTS) * self.scale + self.shift
            if self.signs == "-" or (self.signs == "*" and drawn & 8):
                value = -value
            self.bindings[name] = value
        return value


def ball(value: Value) -> acb:
    """The value as a ball at the present precision."""
    return value if isinstance(value, acb) else acb(value)


def is_real(value: Value) -> bool:
    """May the value be real? A ball counts as real where its imaginary part can be zero."""
    return not isinstance(value, acb) or value.imag.contains(0)


def evaluate(node: Node, point: Point) -> Value:
    """The value of `node` at `point`, at the precision that flint's context has.

    Raises:
        Undefined: there is none here.
        Unreadable: the node is no expression: a set, an interval, words.
        TooMuchWork: the verdict's meter is empty.
    """
    METER.left -= 1
    if METER.left < 0:
        raise TooMuchWork("too much work to decide")
    rule = _RULES.get(node.op)
    if rule is None:
        raise Unreadable(f"{node.op} has no value")
    return rule(node, point)


def _finite(value: acb) -> acb:
    if not value.is_finite():
        raise Undefined("not a finite number")
    return value


def noted(value: acb, point: Point) -> acb:
    """`value`; the point remembers where it is too large for a sum to show its other terms.

    Raises:
        Undefined: it is not finite.
    """
    if not _finite(value).abs_upper() < _HUGE:
        point.huge = True
    return value


def _name(node: Node, point: Point) -> Value:
    if node.note:
        raise Unreadable("a number field has no value")
    return point[node.value]


def _const(node: Node, point: Point) -> Value:
    match node.value:
        case "pi":
            return acb.pi()
        case "e":
            return acb(1).exp()
        case "i":
            return acb(0, 1)
    raise Undefined("infinity")


def _add(node: Node, point: Point) -> Value:
    values = [evaluate(part, point) for part in node.args]
    total = values[0]
    for value in values[1:]:
        total = bounded(total + value, point) if point.big else total + value
    if point.huge and isinstance(total, acb):
        point.lossy = True
    return total


def _mul(node: Node, point: Point) -> Value:
    value = evaluate(node.args[0], point)
    for part in node.args[1:]:
        value = value * evaluate(part, point)
        if point.big:
            value = bounded(value, point)
    return value


def bounded(value: Value, point: Point) -> Value:
    """An exact number as it is while it is small enough, else as a ball."""
    if isinstance(value, acb) or _bits(value) <= MAX_EXACT_BITS:
        return value
    return noted(acb(value), point)


def _bits(value: fmpq) -> int:
    return value.p.bit_length() + value.q.bit_length()


def watched(value: fmpq, point: Point) -> fmpq:
    """`value`; from here on the point watches sizes if it is big."""
    if _bits(value) > BIG_BITS:
        point.big = True
    return value


def _neg(node: Node, point: Point) -> Value:
    return -evaluate(node.args[0], point)


def _div(node: Node, point: Point) -> Value:
    return divide(evaluate(node.args[0], point), evaluate(node.args[1], point))


def divide(above: Value, below: Value) -> Value:
    """The quotient.

    Raises:
        Undefined: the divisor may be zero.
    """
    if isinstance(below, acb):
        if below.contains(0):
            raise Undefined("division by zero")
    elif below == 0:
        raise Undefined("division by zero")
    return above / below


def _pow(node: Node, point: Point) -> Value:
    return power(evaluate(node.args[0], point), evaluate(node.args[1], point), point)


def power(base: Value, exponent: Value, point: Point) -> Value:
    """The power: exact while small, real where an odd root of a negative number is asked for."""
    if isinstance(exponent, fmpq):
        if exponent.q == 1:
            return _integer_power(base, exponent.p, point)
        if isinstance(base, fmpq):
            return _rational_power(base, exponent, point)
    elif not isinstance(base, acb) and base == 0:
        raise Undefined("a power of zero")
    _note_crossing(base, point)
    spend(POWER_WORK)
    return noted(ball(base).pow(ball(exponent)), point)


def _integer_power(base: Value, exponent: fmpz, point: Point) -> Value:
    if isinstance(base, acb):
        if exponent < 0 and base.contains(0):
            raise Undefined("division by zero")
        return noted(base.pow(acb(exponent)), point)
    if base == 0:
        if exponent < 0:
            raise Undefined("division by zero")
        return _ONE if exponent == 0 else _ZERO
    bits = max(base.p.bit_length(), base.q.bit_length())
    if bits == 1:  # 1 or -1
        return base if exponent % 2 else base * base
    if bits * abs(exponent) <= MAX_BITS:
        return watched(base ** int(exponent), point)
    return noted(acb(base).pow(acb(exponent)), point)


def _rational_power(base: fmpq, exponent: fmpq, point: Point) -> Value:
    if base == 0:
        if exponent < 0:
            raise Undefined("division by zero")
        return _ZERO
    if exponent == _HALF and base > 0 and (root := _exact_root(base)) is not None:
        return root
    if base < 0:
        if exponent.q % 2:  # an odd root: the real one
            magnitude = _finite(acb(-base).pow(acb(exponent)))
            return -magnitude if exponent.p % 2 else magnitude
        point.crossed = True
    return noted(acb(base).pow(acb(exponent)), point)


def _exact_root(value: fmpq) -> fmpq | None:
    above, below = value.p.isqrt(), value.q.isqrt()
    return fmpq(above, below) if above * above == value.p and below * below == value.q else None


def _note_crossing(value: Value, point: Point) -> None:
    if not (value > 0 if isinstance(value, fmpq) else value.real > 0):
        point.crossed = True


def _mod(node: Node, point: Point) -> Value:
    value, modulus = (evaluate(part, point) for part in node.args)
    if not (isinstance(value, fmpq) and isinstance(modulus, fmpq)) or modulus == 0:
        raise Undefined("a remainder of these")
    return value - modulus * fmpq((value / modulus).floor())


def _fact(node: Node, point: Point) -> Value:
    return factorial(evaluate(node.args[0], point), point)


def factorial(value: Value, point: Point) -> Value:
    """The factorial, exact for small whole numbers, else by the gamma function."""
    if isinstance(value, fmpq) and value.q == 1:
        if value < 0:
            raise Undefined("factorial of a negative number")
        if value <= MAX_FACTORIAL:
            return watched(fmpq(fmpz.fac_ui(value.p)), point)
    spend(GAMMA_WORK)
    return noted((ball(value) + 1).gamma(), point)


def _degree(node: Node, point: Point) -> Value:
    return evaluate(node.args[0], point) * acb.pi() / 180


def _percent(node: Node, point: Point) -> Value:
    return evaluate(node.args[0], point) / 100


def _inner(node: Node, point: Point) -> Value:
    return evaluate(node.args[0], point)


def _index(node: Node, point: Point) -> Value:
    """`F_{n-1}`: one variable for each value of its index."""
    value = evaluate(node.args[0], point)
    if isinstance(value, fmpq):
        return point[f"{node.value}_{value}"]
    return generic(node.value, (value,), point)


def _opaque(node: Node, point: Point) -> Value:
    return generic(node.value, tuple(evaluate(part, point) for part in node.args), point)


def generic(name: str, arguments: tuple[Value, ...], point: Point) -> Value:
    """The value of a function that nobody knows: some smooth one, the same for the same name."""
    spend(GENERIC_WORK)
    total = ball(point[f"{name}()"])
    for place, argument in enumerate(arguments):
        near, far = point[f"{name}({place}"], point[f"{name}){place}"]
        total += (ball(argument) * near + far).cos() * (place + 2) + ball(argument) * far
    return _finite(total)


def _series(node: Node, point: Point) -> Value:
    """A sum or product with whole bounds, term by term."""
    first, last = (evaluate(bound, point) for bound in node.args[:2])
    if not (isinstance(first, fmpq) and isinstance(last, fmpq)) or first.q != 1 or last.q != 1:
        raise Undefined("bounds that are no whole numbers")
    if last - first > MAX_TERMS:
        raise Undefined("too many terms")
    point.big = True  # small terms make large sums
    outer = point.bindings.get(node.value)
    total: Value = _ZERO if node.op == "sum" else _ONE
    index = first
    while index <= last:
        point.bindings[node.value] = index
        term = evaluate(node.args[2], point)
        total = bounded(total + term if node.op == "sum" else total * term, point)
        index += 1
    if outer is None:
        point.bindings.pop(node.value, None)
    else:
        point.bindings[node.value] = outer
    return total


def _call(node: Node, point: Point) -> Value:
    from reward_server.scorers.math.functions import call

    return call(node, point)


_RULES: dict[str, Callable[[Node, Point], Value]] = {
    "num": lambda node, point: node.value,
    "name": _name,
    "const": _const,
    "index": _index,
    "opaque": _opaque,
    "call": _call,
    "add": _add,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "pow": _pow,
    "mod": _mod,
    "fact": _fact,
    "degree": _degree,
    "percent": _percent,
    "sum": _series,
    "prod": _series,
    "group": _inner,
    "quantity": _inner,
}
_HUGE = arb(2) ** 4_000


def precision(bits: int) -> None:
    """Set the bits that balls are computed with from here on."""
    ctx.prec = bits
