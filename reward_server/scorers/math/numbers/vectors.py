"""Compute with matrices, vectors and points cell by cell: `(1, 2) + t(3, 4)`.

A sum, product, quotient or power that contains a matrix or bracket becomes one matrix or bracket;
the node is unchanged if no rule applies.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.numbers.same_value import features, same_value
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable, product_of, sum_of

MAX_CELLS = 400
_ARRAYS = frozenset(["matrix", "bracket"])
_ACCENTS = ("hat", "vec")
_ACCENTED = frozenset(f"{accent} {letter}" for accent in _ACCENTS for letter in "ijk")


def folded(node: Node) -> Node:
    """Return `node` with its array operations carried out.

    Raises:
        Unreadable: arrays of different shapes are added or multiplied.
    """
    rule = _RULES.get(node.op)
    if rule is None:
        return node
    parts = tuple(folded(part) for part in node.args)
    if not any(part.op in _ARRAYS for part in parts):
        return node
    return rule(parts) or Node(node.op, parts, node.value, node.note)


def unit_vectors(node: Node) -> Node | None:
    r"""Return `2\mathbf{i} + 3\hat{j}` as a column of components; None for any other expression."""
    if not any(map(_ends_in_unit, node.args)):
        return None
    found = features(node)
    accented = found.names & _ACCENTED
    if not accented and not (found.imaginary and "j" in found.names):
        return None
    axes = [[f"{a} {letter}" for a in _ACCENTS] for letter in "ijk"]
    if not accented:
        axes = [[letter] for letter in "ijk"]
    present = [bool(found.names & set(axis)) or axis == ["i"] for axis in axes]
    height = 3 if present[2] else 2
    if height == 3 and not accented and "j" not in found.names:
        return None
    cells = tuple(_component(node, axes, at) for at in range(height))
    whole = sum_of(
        [Node("mul", (cell, Node("name", value=axes[at][0]))) for at, cell in enumerate(cells)]
    )
    units = [Node("name", value=axis[0]) for axis in axes]
    if not same_value(_with_units(node, axes, units), whole, 1)[0]:
        return None
    return Node("matrix", cells, (height, 1))


def _ends_in_unit(term: Node) -> bool:
    while term.args:
        term = term.args[-1]
    return term.op == "name" and (term.value == "j" or term.value in _ACCENTED)


def _component(node: Node, axes: list[list[str]], at: int) -> Node:
    units = [Node("num", value=fmpq(int(place == at))) for place in range(3)]
    return _with_units(node, axes, units)


def _with_units(node: Node, axes: list[list[str]], units: list[Node]) -> Node:
    """Return `node` with its unit vectors replaced."""
    if node.op in ("name", "const"):
        found = (unit for axis, unit in zip(axes, units, strict=True) if node.value in axis)
        return next(found, node)
    if not node.args:
        return node
    parts = tuple(_with_units(part, axes, units) for part in node.args)
    return Node(node.op, parts, node.value, node.note)


def _each(array: Node, rule: Callable[[Node], Node]) -> Node:
    return Node(array.op, tuple(map(rule, array.args)), array.value)


def _sum(parts: tuple[Node, ...]) -> Node | None:
    first = parts[0]
    if any(part.op not in _ARRAYS for part in parts):
        return None
    if any(part.value != first.value or len(part.args) != len(first.args) for part in parts):
        raise Unreadable("a sum of arrays of different shapes")
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


def _size(matrix: Node) -> tuple[int, int]:
    """Return the numbers of rows and columns."""
    return matrix.value


def _matrix_product(left: Node, right: Node) -> Node:
    rows, inner = _size(left)
    height, columns = _size(right)
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
    """Return the transpose; other powers are left unchanged."""
    matrix, exponent = parts
    if exponent.op != "name" or exponent.value != "T" or matrix.op not in _ARRAYS:
        return None
    if matrix.op == "bracket":
        return Node("matrix", matrix.args, (len(matrix.args), 1))
    rows, columns = _size(matrix)
    cells = tuple(matrix.args[row * columns + at] for at in range(columns) for row in range(rows))
    return Node("matrix", cells, (columns, rows))


_RULES: dict[str, Callable[[tuple[Node, ...]], Node | None]] = {
    "add": _sum,
    "neg": _negative,
    "mul": _product,
    "div": _quotient,
    "pow": _power,
}
