"""Sets of real numbers: convert intervals, inequalities and points to a canonical list of pieces.

A piece has two ends and two brackets; a point is a piece with equal ends. Pieces with numeric ends
are sorted, merged and cut exactly; ends with variables are compared only as written.
"""

from __future__ import annotations

from flint import arb, fmpq

from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    constant_value,
    real_value,
)
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

ZERO = Node("num", value=fmpq(0))
INFINITY = Node("const", value="inf")
MINUS_INFINITY = Node("neg", (INFINITY,))
MAX_PIECES = 64
_POSITIVE, _NEGATIVE = arb("inf"), arb("-inf")

# A cut of the line: a value, and -1 just before it, 0 at it, 1 just after it.
Cut = tuple[arb, int]


def piece(low: Node, high: Node, brackets: str) -> Node:
    """Return the interval between two ends."""
    return Node("piece", (low, high), brackets)


def region(pieces: tuple[Node, ...], variable: str | None = None) -> Node:
    return Node("region", pieces, variable)


WHOLE_LINE = region((piece(MINUS_INFINITY, INFINITY, "()"),))


def points(items: tuple[Node, ...]) -> Node:
    """Return the region of single points."""
    return region(tuple(piece(item, item, "[]") for item in items))


def end_value(node: Node) -> arb | None:
    """Return the value of an end, or None if it is not a number."""
    if node == INFINITY:
        return _POSITIVE
    if node == MINUS_INFINITY:
        return _NEGATIVE
    return real_value(node)


def _order(a: Cut, b: Cut) -> int:
    """Return -1, 0 or 1; overlapping balls count as equal."""
    if a[0] < b[0]:
        return -1
    if a[0] > b[0]:
        return 1
    return (a[1] > b[1]) - (a[1] < b[1])


class Span:
    """A piece with numeric ends, as two cuts of the line."""

    __slots__ = ("high", "low", "node")

    def __init__(self, node: Node, low: Cut, high: Cut) -> None:
        self.node, self.low, self.high = node, low, high


def _span(node: Node) -> Span | None:
    low, high = end_value(node.args[0]), end_value(node.args[1])
    if low is None or high is None:
        return None
    opening, closing = node.value
    return Span(node, (low, 0 if opening == "[" else 1), (high, 0 if closing == "]" else -1))


def _is_empty(span: Span) -> bool:
    return _order(span.low, span.high) > 0


def canonical(node: Node) -> Node:
    """Return the region with its pieces sorted and merged where they
    touch, if its ends are numeric."""
    if len(node.args) > MAX_PIECES:
        raise Unreadable(f"more than {MAX_PIECES} pieces")
    spans = [_span(part) for part in node.args]
    if any(span is None for span in spans):
        return node
    kept = _sorted([span for span in spans if span is not None and not _is_empty(span)])
    merged: list[Span] = []
    for span in kept:
        if merged and _touches(merged[-1], span):
            if _order(span.high, merged[-1].high) > 0:
                merged[-1] = Span(span.node, merged[-1].low, span.high)
                merged[-1].node = _joined(merged[-1], merged[-1].low, span.node, kept)
            continue
        merged.append(span)
    return region(tuple(span.node for span in merged), node.value)


def _joined(span: Span, low: Cut, last: Node, kept: list[Span]) -> Node:
    first = next(other.node for other in kept if other.low is low)
    return piece(first.args[0], last.args[1], first.value[0] + last.value[1])


def _sorted(spans: list[Span]) -> list[Span]:
    """Sort by insertion: balls have no total order for sort(), and pieces are few."""
    ordered: list[Span] = []
    for span in spans:
        at = len(ordered)
        while at and _order(span.low, ordered[at - 1].low) < 0:
            at -= 1
        ordered.insert(at, span)
    return ordered


def _touches(left: Span, right: Span) -> bool:
    """Tell whether two spans overlap or meet without a gap."""
    if right.low[0] < left.high[0]:
        return True
    if right.low[0] > left.high[0]:
        return False
    return right.low[1] - left.high[1] < 2 and (right.low[1] <= 0 or left.high[1] >= 0)


def union(left: Node, right: Node) -> Node:
    return canonical(region(left.args + right.args, left.value or right.value))


def complement(node: Node) -> Node:
    """Return the complement on the real line.

    Raises:
        Unreadable: an end is not a number.
    """
    pieces = canonical(node).args
    gaps: list[Node] = []
    low, bracket = MINUS_INFINITY, "("
    for part in pieces:
        if _span(part) is None:
            raise Unreadable("the complement of a region with a variable end")
        gaps.append(piece(low, part.args[0], bracket + (")" if part.value[0] == "[" else "]")))
        low, bracket = part.args[1], "(" if part.value[1] == "]" else "["
    gaps.append(piece(low, INFINITY, bracket + ")"))
    return canonical(region(tuple(gaps), node.value))


def intersection(left: Node, right: Node) -> Node:
    """Return the intersection, computed as the complement of the union of the complements."""
    if left == WHOLE_LINE:
        return right
    if right == WHOLE_LINE:
        return left
    both = complement(union(complement(left), complement(right)))
    return region(both.args, left.value or right.value)


def difference(left: Node, right: Node) -> Node:
    return intersection(left, complement(right))


def whole_numbers(node: Node, positive: bool) -> tuple[Node, ...]:
    """Return the whole numbers in a bounded region.

    Raises:
        Unreadable: it is unbounded, or contains too many whole numbers.
    """
    if positive:
        node = intersection(node, half_line(">", ZERO, None))
    found: list[Node] = []
    for part in canonical(node).args:
        span = _span(part)
        if span is None or not (span.low[0].is_finite() and span.high[0].is_finite()):
            raise Unreadable("whole numbers without bounds")
        number, end = _integer(span.low[0].ceil()), _integer(span.high[0].floor())
        if end - number > MAX_PIECES:
            raise Unreadable("too many whole numbers")
        for value in range(number, end + 1):
            cut = (arb(value), 0)
            if _order(span.low, cut) <= 0 <= _order(span.high, cut):
                found.append(Node("num", value=fmpq(value)))
    return tuple(found)


def _integer(value: arb) -> int:
    whole = value.unique_fmpz()
    if whole is None:
        raise Unreadable("a bound that may or may not be whole")
    return int(whole)


def as_region(node: Node) -> Node:
    """Return a bracket, a set or a number field as a region of the line.

    Raises:
        Unreadable: it is none of these.
    """
    if node.op == "region":
        return node
    if node.op == "bracket" and len(node.args) == 2:
        return region((piece(node.args[0], node.args[1], node.value),))
    if node.op == "set":
        return points(node.args)
    if node.op == "assigned":
        bare = node.args[0]
        inner = points((bare,)) if constant_value(bare) is not None else as_region(bare)
        return region(inner.args, node.value)
    if node.op == "name" and node.value == "field R":
        return WHOLE_LINE
    raise Unreadable(f"{node.op} is not a region")


def half_line(operator: str, end: Node, variable: str | None) -> Node:
    """Return the numbers x for which `x operator end` holds."""
    match operator:
        case "<" | "<=":
            pieces = (piece(MINUS_INFINITY, end, "(" + ("]" if operator == "<=" else ")")),)
        case ">" | ">=":
            pieces = (piece(end, INFINITY, ("[" if operator == ">=" else "(") + ")"),)
        case "=":
            pieces = (piece(end, end, "[]"),)
        case "!=":
            pieces = (
                piece(MINUS_INFINITY, end, "()"),
                piece(end, INFINITY, "()"),
            )
        case _:
            raise Unreadable(f"{operator} is not a half line")
    return region(pieces, variable)


def as_points(node: Node) -> tuple[Node, ...] | None:
    """Return the points of a region that consists only of points, else None."""
    if all(part.args[0] == part.args[1] and part.value == "[]" for part in node.args):
        return tuple(part.args[0] for part in node.args)
    return None
