"""Decide whether a decimal is a rounding of an exact value.

By default a decimal stands for exactly its value. It counts as a rounding if it has the digits of a
float (`0.0833333333333333` for 1/12), because nobody writes twelve digits to mean another number,
or if the policy accepts the precision of the ground truth. A whole number, or a decimal that a
float represents exactly, has no rounding: twelve of its twenty digits are another number.
"""

from __future__ import annotations

import re

from flint import arb, fmpq

from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    constant_value,
    real_value,
)
from touchstone_rewards.reward_server.scorers.math.policy import Rounding
from touchstone_rewards.reward_server.scorers.math.tree import Node

MIN_DIGITS = 2  # of a ground truth that is a rounding: 0.1 is a tenth
MIN_ANSWER_DIGITS = 4  # of an answer that rounds an exact ground truth
FLOAT_DIGITS = 12
DOUBLE_DIGITS = 16  # from here on the last digit may be off by a double's error
_DECIMAL = re.compile(r"(\d*+)\.?(\d*+)(?:e([-+]?\d++))?")


class Decimal:
    """A decimal as written: its value, its significant digits, and the
    place value of the last one."""

    __slots__ = ("digits", "last", "value")

    def __init__(self, value: fmpq, digits: int, last: fmpq) -> None:
        self.value, self.digits, self.last = value, digits, last


def written_decimal(node: Node) -> Decimal | None:
    r"""Return the decimal that a node consists of: `-0.25`,
    `2.5 \times 10^{-3}`; None for all else."""
    if node.op == "neg" and (inner := written_decimal(node.args[0])):
        return Decimal(-inner.value, inner.digits, inner.last)
    if node.op == "mul" and len(node.args) == 2 and (scale := _power_of_ten(node.args[1])):
        inner = written_decimal(node.args[0])
        return inner and Decimal(inner.value * scale, inner.digits, inner.last * scale)
    if node.op != "num" or not isinstance(node.note, str) or "." not in node.note:
        return None
    parts = _DECIMAL.fullmatch(node.note)
    if parts is None:
        return None
    digits = len((parts[1] + parts[2]).lstrip("0"))
    power = int(parts[3] or 0) - len(parts[2])
    last = fmpq(10) ** power
    return Decimal(node.value, digits, last)


def _power_of_ten(node: Node) -> fmpq | None:
    if node.op != "pow" or node.args[0].op != "num" or node.args[0].value != 10:
        return None
    exponent = node.args[1]
    if exponent.op != "num" or exponent.value.q != 1 or abs(exponent.value.p) > 4000:
        return None
    return fmpq(10) ** int(exponent.value.p)


def rounds_to(truth: Node, answer: Node, rounding: Rounding) -> bool:
    """Tell whether one of the two is a decimal to which the other rounds."""
    left, right = written_decimal(truth), written_decimal(answer)
    if left is not None and right is None and _is_float_of(left, answer):
        return True
    if right is not None and left is None and _is_float_of(right, truth):
        return True
    if rounding == "exact":
        return False
    if left is not None:
        return left.digits >= MIN_DIGITS and _within(left, answer)
    if right is None or right.digits < MIN_ANSWER_DIGITS or _is_whole(truth):
        return False
    return _within(right, truth)


def _is_float_of(decimal: Decimal, exact: Node) -> bool:
    """Tell whether the decimal has the digits of a float and the exact
    value has no short decimal."""
    return decimal.digits >= FLOAT_DIGITS and _within(decimal, exact) and not _is_short(exact)


def _is_whole(node: Node) -> bool:
    value = constant_value(node)
    return isinstance(value, fmpq) and value.q == 1


def _is_short(node: Node) -> bool:
    """Tell whether a value is whole, or a decimal with few enough digits for a float."""
    value = constant_value(node)
    if not isinstance(value, fmpq):
        return False
    scaled = value * 10**DOUBLE_DIGITS
    return _is_whole(node) or (scaled.q == 1 and abs(scaled.p) < 10**DOUBLE_DIGITS)


def _within(decimal: Decimal, node: Node) -> bool:
    """Tell whether the value is within half a unit of the decimal's last
    digit; ties round either way."""
    exact = real_value(node)
    if exact is None:
        return False
    apart = abs(exact - arb(decimal.value))
    if decimal.digits >= DOUBLE_DIGITS and not apart > abs(exact) * 2.0**-52:
        return True
    return not apart > arb(decimal.last) / 2
