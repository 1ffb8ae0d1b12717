"""Read chains of relations as an assignment, a part of the real line, or a relation."""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar.figures import SIGNS
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    constant_value,
    features,
    same_value,
)
from touchstone_rewards.reward_server.scorers.math.tree import (
    VALUES,
    Node,
    Unreadable,
    contains,
    negative,
)

Shaper = Callable[[Node], Node]

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_UNREAD = frozenset(["other"])
_OF_DIGITS = frozenset(["integral", "limit", "infinite sum"])
_ORDERINGS = frozenset(["<", ">", "<=", ">="])
_TURNED = {"supset": "subset", "supseteq": "subseteq"}
RELATED = frozenset(
    ["perp", "parallel", "similar", "congruent", "subset", "subseteq", "subsetneq", "->", "propto",
     "nsubset", "nsubseteq", *_TURNED]
)  # fmt: skip
_PLACES = [Node("num", value=fmpq(p, q)) for p, q in ((0, 1), (1, 1), (-7, 3), (11, 2), (-40, 1))]


def relation(node: Node, shape: Shaper) -> Node:
    """Return the answer that a chain of relations states."""
    sides, operators = list(node.args), list(node.value)
    if "~" in operators:
        sides, operators = _without_asides(sides, operators)
        if not operators:
            return shape(sides[0])
    if "in" in operators or "notin" in operators:
        return _membership(sides, operators, shape)
    if set(operators) == {"="}:
        return _equations(sides, shape)
    if set(operators) <= _ORDERINGS | {"="} or operators == ["!="]:
        return _inequalities(sides, operators, shape)
    if len(operators) == 1 and operators[0] in RELATED:
        return _related(sides, operators[0], shape)
    raise Unreadable(f"a relation with {' '.join(operators)}")


def _without_asides(sides: list[Node], operators: list[str]) -> tuple[list[Node], list[str]]:
    r"""Read ≈ as = where it gives a value for a name, and drop decimals that repeat an exact value.

    `x \approx 3.14` states 3.14, `x = \sqrt2 \approx 1.41` states the root. For an integral, a
    limit or an infinite sum the decimals are the answer.
    """
    kept = [sides[0]]
    chain: list[str] = []
    for at, operator in enumerate(operators):
        if operator == "~" and contains(sides[at], _OF_DIGITS):
            kept[-1] = sides[at + 1]
            continue
        if operator == "~" and _is_worth_something(sides[at], at):
            break
        kept.append(sides[at + 1])
        chain.append("=" if operator == "~" else operator)
    return kept, chain


def _is_worth_something(side: Node, at: int) -> bool:
    """Tell whether this side of a ≈ already is a value, so that the other only approximates it."""
    if name_of(side) or contains(side, _UNREAD):
        return False
    return at > 0 or side.op not in VALUES or not features(side).names


def _related(sides: list[Node], operator: str, shape: Shaper) -> Node:
    r"""Return a relation that is compared as written: `l \perp m`, `A \subseteq B`, `x \to 3`."""
    sides = [shape(side) for side in sides]
    if (turned := _TURNED.get(operator)) is not None:
        sides, operator = sides[::-1], turned
    return Node("related", tuple(sides), operator)


def _membership(sides: list[Node], operators: list[str], shape: Shaper) -> Node:
    if operators != ["in"] or not name_of(sides[0]):
        raise Unreadable("a membership in something that is not a set")
    name = name_of(sides[0])
    if sides[1].op == "name" and sides[1].value in ("Z", "N", "Q", "R"):
        sides[1] = Node("name", value=f"field {sides[1].value}", note="field")
    inner = shape(sides[1])
    if inner.op == "bracket" and len(inner.args) == 2:
        inner = regions.as_region(inner)
    if inner.op == "region":
        return regions.region(inner.args, name)
    return Node("assigned", (inner,), name)


def _is_figure(node: Node) -> bool:
    r"""Tell whether a product is a name: `AB`, `dx` and `\Delta x` are, `ab` is not."""
    letters = [part.value for part in node.args if part.op == "name"]
    if len(letters) < len(node.args) or len(letters) > 4:
        return False
    return letters[0] in ("d", "Delta") or all(letter.isupper() for letter in letters)


def _measured(node: Node) -> str | None:
    r"""Return the name in `m\angle ABC`, the measure of an angle, or in `(f \circ g)(x)`."""
    first, second = node.args
    if first.op == "name" and first.value == "m" and second.op == "name":
        return second.value if second.value[0] in SIGNS else None
    composed = first.op == "ordered" and first.value == "circ"
    return "∘".join(str(name_of(part)) for part in first.args) if composed else None


def name_of(node: Node) -> str | None:
    r"""Return the name that `node` is, or None: `x`, `f(x)`, `(p, q)`, `a_3`, `A:B`, `\angle A`."""
    if node.op == "name":
        return node.value
    if node.op in ("opaque", "index"):
        return node.value
    if node.op == "ratio" and all(part.op == "name" for part in node.args):
        return ":".join(part.value for part in node.args)
    if node.op in ("bracket", "list") and all(name_of(part) for part in node.args):
        return ",".join(str(name_of(part)) for part in node.args)
    if node.op == "mul" and len(node.args) == 2 and (measured := _measured(node)):
        return measured
    if node.op == "mul" and _is_figure(node):
        return "".join(part.value for part in node.args)
    return None


def _equations(sides: list[Node], shape: Shaper) -> Node:
    r"""Read equations: `x = 5` assigns, `\sqrt4 = 2` is a value with its working,
    `x + y = 1` is an equation."""
    last = sides[-1]
    if sides[0].op == "derivative":
        if not same_value(sides[0], last, 1)[0]:
            raise Unreadable("an equation between two derivatives")
        return shape(last)
    named = [side for side in sides[:-1] if name_of(side)]
    if len(named) == len(sides) - 1:
        inner = shape(last)
        if len(named) > 1 and not name_of(last):
            return Node("all equal", (inner,), tuple(map(name_of, named)), sides[0])
        return Node("assigned", (inner,), name_of(sides[0]), sides[0])
    if name_of(last) and len(sides) == 2:
        return Node("assigned", (shape(sides[0]),), name_of(last), last)
    if named and name_of(sides[0]):
        _check_chain(sides[1:], shape)
        return Node("assigned", (shape(last),), name_of(sides[0]), sides[0])
    if not any(features(side).names for side in sides):
        return _check_chain(sides, shape)
    if len(sides) == 2:
        return Node("equation", tuple(sides))
    raise Unreadable("a chain of equations")


def each_named(node: Node) -> tuple[Node, ...]:
    """Return `a = b = 1` as `a = 1, b = 1`; any other answer as a single item."""
    if node.op != "all equal":
        return (node,)
    names = [Node("name", value=name) for name in node.value]
    return tuple(Node("assigned", node.args, name.value, name) for name in names)


def _check_chain(sides: list[Node], shape: Shaper) -> Node:
    """Return the last of several equal constants. Sides that cannot be evaluated are assumed equal.

    Raises:
        Unreadable: two of them differ, or all are plain literals: `1 = 1` states nothing.
    """
    if all(side.op == "num" for side in sides) and len(sides) > 1:
        raise Unreadable("an identity of numbers")
    last = sides[-1]
    for side in sides[:-1]:
        known = constant_value(side) is not None and constant_value(last) is not None
        if known and not same_value(side, last, 1)[0]:
            raise Unreadable("an equation that does not hold")
    return shape(last)


def _inequalities(sides: list[Node], operators: list[str], shape: Shaper) -> Node:
    """Return one variable bounded by constants as a region, anything
    else as a single inequality."""
    names = {name for side in sides for name in features(side).names}
    if len(names) == 1 and (variable := next(iter(names))):
        parts = [
            _solved(left, operator, right, variable)
            for left, operator, right in zip(sides, operators, sides[1:], strict=False)
        ]
        if all(part is not None for part in parts):
            total = parts[0]
            for part in parts[1:]:
                total = regions.intersection(total, part) if total and part else None
            if total is not None:
                return regions.canonical(total)
    middle = sides[1] if len(sides) == 3 else None
    if (
        middle is not None
        and (name := name_of(middle))
        and name not in features(sides[0], sides[2]).names
    ):
        return _between(sides, operators, name)
    if len(sides) == 2:
        return _inequality(sides[0], operators[0], sides[1], shape)
    raise Unreadable("a chain of inequalities")


def _between(sides: list[Node], operators: list[str], name: str) -> Node:
    """Return `a < x < b` with ends that are not numbers as a region."""
    low, high = sides[0], sides[2]
    if operators[0] in (">", ">="):
        low, high = high, low
        operators = [_FLIPPED[operators[1]], _FLIPPED[operators[0]]]
    opening = "[" if operators[0] == "<=" else "("
    closing = "]" if operators[1] == "<=" else ")"
    return regions.region((regions.piece(low, high, opening + closing),), name)


def _inequality(left: Node, operator: str, right: Node, shape: Shaper) -> Node:
    if operator in (">", ">="):
        left, right, operator = right, left, _FLIPPED[operator]
    name = name_of(left) if name_of(left) and left.op == "name" else None
    if name and operator != "!=" and name not in features(right).names:
        return regions.half_line(operator, shape(right), name)
    if right.op == "name" and operator != "!=" and right.value not in features(left).names:
        return regions.half_line(_FLIPPED[operator], shape(left), right.value)
    return Node("inequality", (left, right), operator)


def _solved(left: Node, operator: str, right: Node, variable: str) -> Node | None:
    """Return the solutions of a relation that is linear in its only variable, or None."""
    if left.op == "name" and not features(right).names:
        return regions.half_line(operator, right, variable)
    if right.op == "name" and not features(left).names:
        return regions.half_line(_FLIPPED[operator], left, variable)
    if right.op == "call" and right.value == "abs":
        left, right, operator = right, left, _FLIPPED[operator]
    if left.op == "call" and left.value == "abs" and not features(right).names:
        return _absolute(left.args[0], operator, right, variable)
    line = Node("add", (left, Node("neg", (right,))))
    at = [constant_value(put(line, variable, place)) for place in _PLACES]
    exact = [value for value in at if isinstance(value, fmpq)]
    if len(exact) < len(at):
        return None
    zero, slope = exact[0], exact[1] - exact[0]
    straight = (zero + slope * place.value for place in _PLACES)
    if slope == 0 or any(a != b for a, b in zip(straight, exact, strict=True)):
        return None
    end = Node("num", value=-zero / slope)
    return regions.half_line(operator if slope > 0 else _FLIPPED[operator], end, variable)


def _absolute(inner: Node, operator: str, size: Node, variable: str) -> Node | None:
    """Return |u| < c as -c < u < c, and |u| > c as the union of the two outer parts."""
    below = "<" if operator in ("<", ">=") else "<="
    low = _solved(inner, ">" if below == "<" else ">=", negative(size), variable)
    high = _solved(inner, below, size, variable)
    if low is None or high is None or operator not in _ORDERINGS:
        return None
    between = regions.intersection(low, high)
    return between if operator in ("<", "<=") else regions.complement(between)


def put(node: Node, variable: str, value: Node) -> Node:
    """Return `node` with `value` substituted for its variable."""
    if node.op == "name":
        return value if node.value == variable else node
    if not node.args:
        return node
    return Node(
        node.op, tuple(put(part, variable, value) for part in node.args), node.value, node.note
    )
