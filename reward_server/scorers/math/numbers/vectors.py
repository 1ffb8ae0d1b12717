"""Arithmetic on matrices, vectors and points, worked out cell by cell: `(1, 2) + t(3, 4)`.

In: a sum, product, quotient or power with a matrix or a bracket in it. Out: one matrix or bracket,
or the node as it was where no rule fits.
"""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable, product_of, sum_of

MAX_CELLS = 400
_ARRAYS = frozenset(["matrix", "bracket"])


def folded(node: Node) -> Node:
    """`node` with its arrays worked out.

    Raises:
        Unreadable: arrays of unlike shape are added or multiplied.
    """
    rule = _RULES.get(node.op)
    if rule is None:
        return node
    parts = tuple(folded(part) for part in node.args)
    if not any(part.op in _ARRAYS for part in parts):
        return node
    return rule(parts) or Node(node.op, parts, node.value, node.note)


def _each(array: Node, rule: Callable[[Node], Node]) -> Node:
    return Node(array.op, tuple(map(rule, array.args)), array.value)


def _sum(parts: tuple[Node, ...]) -> Node | None:
    first = parts[0]
    if any(part.op not in _ARRAYS for part in parts):
        return None
    if any(part.value != first.value or len(part.args) != len(first.args) for part in parts):
        raise Unreadable("a sum of unlike arrays")
    cells = zip(*(part.args for part in parts), strict=True)
    return Node(first.op, tuple(sum_of(list(column)) for column in cells), first.value)


def _negative(parts: tuple[Node, ...]) -> Node:
    return _each(parts[0], lambda cell: Node("neg", (cell,)))


def _product(parts: tuple[Node, ...]) -> Node | None:
    arrays = [part for part in parts if part.op in _ARRAYS]
    scalars = [part for part in parts if part.op not in _ARRAYS]
    total = arrays[0]
    for array in arrays[1:]:
        if total.op != "matrix" or array.op != "matrix":
            return None
        total = _matrix_product(total, array)
    if not scalars:
        return total
    return _each(total, lambda cell: product_of([*scalars, cell]))


def _matrix_product(left: Node, right: Node) -> Node:
    (rows, inner), (height, columns) = left.value, right.value
    if inner != height or rows * inner * columns > MAX_CELLS:
        raise Unreadable("a product of these matrices")
    cells = [
        sum_of(
            [
                Node("mul", (left.args[row * inner + at], right.args[at * columns + column]))
                for at in range(inner)
            ]
        )
        for row in range(rows)
        for column in range(columns)
    ]
    return Node("matrix", tuple(cells), (rows, columns))


def _quotient(parts: tuple[Node, ...]) -> Node | None:
    if parts[1].op in _ARRAYS:
        return None
    return _each(parts[0], lambda cell: Node("div", (cell, parts[1])))


def _power(parts: tuple[Node, ...]) -> Node | None:
    """The transpose; no other power is worked out."""
    matrix, exponent = parts
    if matrix.op != "matrix" or exponent.op != "name" or exponent.value not in ("T", "top"):
        return None
    rows, columns = matrix.value
    cells = tuple(matrix.args[row * columns + at] for at in range(columns) for row in range(rows))
    return Node("matrix", cells, (columns, rows))


_RULES: dict[str, Callable[[tuple[Node, ...]], Node | None]] = {
    "add": _sum,
    "neg": _negative,
    "mul": _product,
    "div": _quotient,
    "pow": _power,
}
