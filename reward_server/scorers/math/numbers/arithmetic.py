"""Arithmetic on numbers: exact rationals while they are small, balls beyond that.

A ball (flint's acb) is certain to contain the true value, so disjoint balls prove a difference.
Huge numbers are never expanded: beyond `MAX_BITS` a rational becomes a ball.
"""

from __future__ import annotations

from zlib import crc32

from flint import acb, arb, ctx, fmpq, fmpz

from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import spend

Value = fmpq | acb

MAX_BITS = 1 << 16  # of an exact power; beyond it, use a ball of the same number
MAX_EXACT_BITS = 1 << 17  # of an exact sum or product
BIG_BITS = 512  # from here on sizes are checked
MAX_FACTORIAL = 3_000
GAMMA_WORK, POWER_WORK = 60, 3
_PARTS = 1 << 14  # random values are odd 16384ths: as an exponent never an odd root
ZERO, ONE, _HALF = fmpq(0), fmpq(1), fmpq(1, 2)
_HUGE = arb(2) ** 4_000


class Undefined(Exception):
    """The expression has no value here: a division by zero, a logarithm of zero."""


class Point:
    """A value for every variable, drawn on demand and reproducible from the seed.

    `scale` bounds the values; `signs` sets their sign: `+`, `-`, or `*` for either. After an
    evaluation, `crossed` reports that a root or logarithm of a negative number was taken, and
    `lossy` that a term was lost in a sum with a huge number.
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
    """Return the value as a ball at the current precision."""
    return value if isinstance(value, acb) else acb(value)


def is_real(value: Value) -> bool:
    """Tell whether the value may be real; a ball may be if its imaginary part contains zero."""
    return not isinstance(value, acb) or value.imag.contains(0)


def finite(value: acb) -> acb:
    if not value.is_finite():
        raise Undefined("not a finite number")
    return value


def noted(value: acb, point: Point) -> acb:
    """Return `value`, and record in the point if it is so large that sums lose their other terms.

    Raises:
        Undefined: it is not finite.
    """
    if not finite(value).abs_upper() < _HUGE:
        point.huge = True
    return value


def bounded(value: Value, point: Point) -> Value:
    """Return an exact number unchanged while it is small enough, else as a ball."""
    if isinstance(value, acb) or _bits(value) <= MAX_EXACT_BITS:
        return value
    return noted(acb(value), point)


def _bits(value: fmpq) -> int:
    return value.p.bit_length() + value.q.bit_length()


def watched(value: fmpq, point: Point) -> fmpq:
    """Return `value`; if it is big, the point checks sizes from here on."""
    if _bits(value) > BIG_BITS:
        point.big = True
    return value


def divide(above: Value, below: Value) -> Value:
    """Return the quotient.

    Raises:
        Undefined: the divisor may be zero.
    """
    if isinstance(below, acb):
        if below.contains(0):
            raise Undefined("division by zero")
    elif below == 0:
        raise Undefined("division by zero")
    return above / below


def power(base: Value, exponent: Value, point: Point) -> Value:
    """Return the power: exact while small, and real for an odd root of a negative number."""
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
        return ONE if exponent == 0 else ZERO
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
        return ZERO
    if exponent == _HALF and base > 0 and (root := _exact_root(base)) is not None:
        return root
    if base < 0:
        if exponent.q % 2:  # an odd root: the real one
            magnitude = finite(acb(-base).pow(acb(exponent)))
            return -magnitude if exponent.p % 2 else magnitude
        point.crossed = True
    return noted(acb(base).pow(acb(exponent)), point)


def _exact_root(value: fmpq) -> fmpq | None:
    above, below = value.p.isqrt(), value.q.isqrt()
    return fmpq(above, below) if above * above == value.p and below * below == value.q else None


def _note_crossing(value: Value, point: Point) -> None:
    if not (value > 0 if isinstance(value, fmpq) else value.real > 0):
        point.crossed = True


def factorial(value: Value, point: Point) -> Value:
    """Return the factorial: exact for small whole numbers, else by the gamma function."""
    if isinstance(value, fmpq) and value.q == 1:
        if value < 0:
            raise Undefined("factorial of a negative number")
        if value <= MAX_FACTORIAL:
            return watched(fmpq(fmpz.fac_ui(value.p)), point)
    spend(GAMMA_WORK)
    return noted((ball(value) + 1).gamma(), point)


def double_factorial(value: Value, point: Point) -> Value:
    """Return n!!, the product of every second number down from n, for a whole number n.

    Raises:
        Undefined: the value is not a whole number, or is below -1.
    """
    if not isinstance(value, fmpq) or value.q != 1 or value < -1:
        raise Undefined("double factorial of a number that is not whole")
    half = fmpq((value / 2).floor())
    if value.p % 2 == 0:
        return power(fmpq(2), half, point) * factorial(half, point)
    above, below = factorial(value + 1, point), factorial(half + 1, point)
    return divide(above, power(fmpq(2), half + 1, point) * below)


def precision(bits: int) -> None:
    """Set the precision of balls in bits from here on."""
    ctx.prec = bits
