"""Evaluate a tree at a point: as an exact rational if possible, else as a ball.

Whether two values are the same is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import acb, arb, fmpq, fmpq_mat

from touchstone_rewards.reward_server.scorers.math.numbers import limits
from touchstone_rewards.reward_server.scorers.math.numbers.arithmetic import (
    ONE,
    ZERO,
    Point,
    Undefined,
    Value,
    ball,
    bounded,
    divide,
    double_factorial,
    factorial,
    finite,
    power,
)
from touchstone_rewards.reward_server.scorers.math.numbers.functions import apply
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import (
    METER,
    TooMuchWork,
    spend,
)
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

MAX_TERMS = 400  # of a sum or product that is expanded
GENERIC_WORK = 8


def evaluate(node: Node, point: Point) -> Value:
    """Return the value of `node` at `point`, at the current precision of flint's context.

    Raises:
        Undefined: there is no value here.
        Unreadable: the node is not an expression: a set, an interval, words.
        TooMuchWork: the work budget of the verdict is exhausted.
    """
    METER.left -= 1
    if METER.left < 0:
        raise TooMuchWork("too much work to decide")
    rule = _RULES.get(node.op)
    if rule is None:
        raise Unreadable(f"{node.op} has no value")
    return rule(node, point)


def _name(node: Node, point: Point) -> Value:
    if node.note == "field":
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
        case _:
            raise Undefined("infinity")


def _add(node: Node, point: Point) -> Value:
    values = [part.value if part.op == "num" else evaluate(part, point) for part in node.args]
    total: Value = values[0]
    for value in values[1:]:
        total = total + value
        if point.big:
            total = bounded(total, point)
    if isinstance(total, acb) and (point.huge or _hides(total, values)):
        point.lossy = True
    return total


def _hides(total: acb, values: list[Value]) -> bool:
    """Tell whether a term of a sum is too small to affect the sum's ball."""
    radius = max(total.real.rad(), total.imag.rad())
    for value in values:
        if isinstance(value, fmpq):
            if value != 0 and abs(arb(value)) < radius:
                return True
        elif not value.contains(0) and value.abs_upper() < radius:
            return True
    return False


def _mul(node: Node, point: Point) -> Value:
    first, *rest = node.args
    value: Value = first.value if first.op == "num" else evaluate(first, point)
    for part in rest:
        value = value * (part.value if part.op == "num" else evaluate(part, point))
        if point.big:
            value = bounded(value, point)
    return value


def _neg(node: Node, point: Point) -> Value:
    return -evaluate(node.args[0], point)


def _div(node: Node, point: Point) -> Value:
    return divide(evaluate(node.args[0], point), evaluate(node.args[1], point))


def _pow(node: Node, point: Point) -> Value:
    base, exponent = node.args
    raised = exponent.value if exponent.op == "num" else evaluate(exponent, point)
    return power(evaluate(base, point), raised, point)


def _mod(node: Node, point: Point) -> Value:
    value, modulus = (evaluate(part, point) for part in node.args)
    if not (isinstance(value, fmpq) and isinstance(modulus, fmpq)) or modulus == 0:
        raise Undefined("a remainder of these")
    return value - modulus * fmpq((value / modulus).floor())


def _fact(node: Node, point: Point) -> Value:
    rule = double_factorial if node.value == 2 else factorial
    return rule(evaluate(node.args[0], point), point)


def _degree(node: Node, point: Point) -> Value:
    return evaluate(node.args[0], point) * acb.pi() / 180


def _percent(node: Node, point: Point) -> Value:
    return evaluate(node.args[0], point) / 100


def _inner(node: Node, point: Point) -> Value:
    return evaluate(node.args[0], point)


def _index(node: Node, point: Point) -> Value:
    """Evaluate `F_{n-1}` as a separate variable for each value of its index."""
    value = evaluate(node.args[0], point)
    if isinstance(value, fmpq):
        return point[f"{node.value}_{value}"]
    return generic(node.value, (value,), point)


def _opaque(node: Node, point: Point) -> Value:
    return generic(node.value, tuple(evaluate(part, point) for part in node.args), point)


def _ordered(node: Node, point: Point) -> Value:
    """Evaluate a product that does not commute; reversing a vector
    product only changes its sign."""
    left, right = (evaluate(part, point) for part in node.args)
    value = generic(node.value, (left, right), point)
    return value - generic(node.value, (right, left), point) if node.value == "cross" else value


def generic(name: str, arguments: tuple[Value, ...], point: Point) -> Value:
    """Return the value of an unknown function: some smooth function determined by its name."""
    spend(GENERIC_WORK)
    total = ball(point[f"{name}()"])
    for place, argument in enumerate(arguments):
        near, far = point[f"{name}({place}"], point[f"{name}){place}"]
        total += (ball(argument) * near + far).cos() * (place + 2) + ball(argument) * far
    return finite(total)


def _series(node: Node, point: Point) -> Value:
    """Evaluate a sum or product with whole bounds, term by term."""
    first, last = (evaluate(bound, point) for bound in node.args[:2])
    if not (isinstance(first, fmpq) and isinstance(last, fmpq)) or first.q != 1 or last.q != 1:
        raise Undefined("bounds that are not whole numbers")
    if last - first > MAX_TERMS:
        raise Undefined("too many terms")
    point.big = True  # small terms make large sums
    outer = point.bindings.get(node.value)
    total: Value = ZERO if node.op == "sum" else ONE
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
    if node.value == "det":
        return _determinant(node.args[0], point)
    return apply(node.value, [evaluate(part, point) for part in node.args], point)


def _determinant(matrix: Node, point: Point) -> Value:
    if matrix.op != "matrix" or matrix.value[0] != matrix.value[1]:
        raise Undefined("the determinant of this")
    size = matrix.value[0]
    values = [evaluate(cell, point) for cell in matrix.args]
    exact = [value for value in values if isinstance(value, fmpq)]
    if len(exact) < len(values):
        raise Undefined("a determinant with irrational entries")
    return fmpq_mat(size, size, exact).det()


_RULES: dict[str, Callable[[Node, Point], Value]] = {
    "num": lambda node, point: node.value,
    "name": _name,
    "const": _const,
    "index": _index,
    "opaque": _opaque,
    "ordered": _ordered,
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
    "limit": lambda node, point: limits.limit(node, point, evaluate),
    "integral": lambda node, point: limits.integral(node, point, evaluate),
    "infinite sum": lambda node, point: limits.infinite_sum(node, point, evaluate),
    "group": _inner,
    "derivative": _inner,
    "quantity": _inner,
}
