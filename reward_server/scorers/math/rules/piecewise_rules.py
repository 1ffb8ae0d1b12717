r"""Compare piecewise answers, piece by piece or by their values at points of every piece.

`\begin{cases} x & x \ge 0 \\ -x & x < 0 \end{cases}` is `|x|`: the two are compared at every end of
a piece and at points between; cases by remainder (`n is even`) at whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from flint import arb, fmpq
from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.answers.answer_shape import shape
from touchstone_rewards.reward_server.scorers.math.answers.relations import put
from touchstone_rewards.reward_server.scorers.math.answers.whole_numbers import in_words
from touchstone_rewards.reward_server.scorers.math.grammar.words import words_of
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    constant_value,
    real_value,
    same_value,
)
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node, Unreadable

MAX_PIECES = 8
WHOLE_POINTS = 24
_OTHERWISE = frozenset(["otherwise", "else", "other", "其他", "其它"])
_INSIDE = tuple(fmpq(p, q) for p, q in ((1, 97), (1, 3), (5, 8), (96, 97)))
_OUTSIDE = tuple(fmpq(p, q) for p, q in ((1, 53), (1, 1), (7, 3), (41, 2), (2003, 2)))


class Piece(Struct):
    """A value and its domain: a region, a family of whole numbers, or None for otherwise."""

    value: Node
    where: Node | None


def cases(truth: Node, answer: Node, case: Case) -> bool:
    """Compare each value with its condition, in any order; else compare the values everywhere."""
    alike = truth.op == answer.op and len(truth.args) == len(answer.args)
    if alike and _piece_by_piece(truth, answer, case):
        return case.decided("piece by piece", True)
    sides = [_pieces(node) for node in (truth, answer)]
    if sides[0] is None or sides[1] is None:
        return case.unlike(truth, answer)
    return case.decided("values in every piece", _same_everywhere(sides[0], sides[1], case))


def _piece_by_piece(truth: Node, answer: Node, case: Case) -> bool:
    rows = [
        [node.args[at : at + 2] for at in range(0, len(node.args), 2)] for node in (truth, answer)
    ]
    open_rows = rows[1]
    for row in rows[0]:
        at = next((i for i, other in enumerate(open_rows) if _same_row(row, other, case)), None)
        if at is None:
            return False
        del open_rows[at]
    return True


def _same_row(left: Sequence[Node], right: Sequence[Node], case: Case) -> bool:
    try:
        shaped = [(_shaped(a), _shaped(b)) for a, b in zip(left, right, strict=True)]
    except Unreadable:
        return False
    return all(case.quietly(a, b) for a, b in shaped)


def _shaped(node: Node) -> Node:
    """Return a value or a condition; `n is even` becomes the even numbers."""
    if node.op == "labelled" and node.args[0].op == "name":
        found = in_words(f"{node.args[0].value} {_with_verb(node.value)}", _unread)
        if found is not None:
            return found
    return shape(node)


def _with_verb(words: str) -> str:
    return words if words.startswith("is ") else f"is {words}"


def _unread(text: str) -> Node:
    raise Unreadable(f"a formula in a condition: {text}")


def _pieces(node: Node) -> list[Piece] | None:
    """Return the pieces of a piecewise answer, a single one for an
    expression; None for anything else."""
    if node.op in VALUES:
        return [Piece(node, None)]
    if node.op == "assigned":
        return _pieces(node.args[0])
    if node.op != "cases" or len(node.args) > 2 * MAX_PIECES:
        return None
    found: list[Piece] = []
    try:
        for at in range(0, len(node.args), 2):
            value, where = shape(node.args[at]), _shaped(node.args[at + 1])
            if where.op == "text" and words_of(where.value) in _OTHERWISE:
                found.append(Piece(value, None))
            elif value.op in VALUES and where.op in ("region", "family", "assigned"):
                found.append(Piece(value, where))
            else:
                return None
    except Unreadable:
        return None
    return found if sum(piece.where is None for piece in found) <= 1 else None


def _same_everywhere(left: list[Piece], right: list[Piece], case: Case) -> bool:
    wheres = [piece.where for piece in (*left, *right) if piece.where is not None]
    if not wheres:
        return False
    if any(where.op == "family" for where in wheres):
        return _same_at_whole(left, right, wheres, case)
    where_regions = [regions.as_region(where) for where in wheres]
    names = {where.value for where in where_regions}
    if len(names) != 1 or None in names:
        return False
    (name,) = names
    points = _points(where_regions)
    return bool(points) and all(_same_at(left, right, name, at, case) for at in points)


def _points(where: Sequence[Node]) -> list[Node]:
    """Return the ends of the regions, and points between and beyond them; none
    if an end is not a number."""
    ends: list[tuple[arb, Node]] = []
    for part in (part for region in where for part in region.args):
        for end in part.args:
            if end in (regions.INFINITY, regions.MINUS_INFINITY):
                continue
            value = real_value(end)
            if value is None:
                return []
            if not any(value.overlaps(other) for other, _ in ends):
                ends.append((value, end))
    ends.sort(key=lambda end: float(end[0]))
    nodes = [node for _, node in ends]
    if not nodes:
        return []
    found = list(nodes)
    for low, high in pairwise(nodes):
        gap = Node("add", (high, Node("neg", (low,))))
        found += [_moved(low, Node("mul", (gap, _number(share)))) for share in _INSIDE]
    found += [_moved(nodes[-1], _number(step)) for step in _OUTSIDE]
    return found + [_moved(nodes[0], _number(-step)) for step in _OUTSIDE]


def _number(value: fmpq) -> Node:
    return Node("num", value=value)


def _moved(node: Node, by: Node) -> Node:
    return Node("add", (node, by))


def _same_at(left: list[Piece], right: list[Piece], name: str, at: Node, case: Case) -> bool:
    place = real_value(at)
    if place is None:
        return False
    values = [_value_at(side, place) for side in (left, right)]
    if values[0] is None or values[1] is None:
        return values[0] is values[1]
    return same_value(put(values[0], name, at), put(values[1], name, at), case.seed)[0]


def _value_at(pieces: list[Piece], place: arb) -> Node | None:
    """Return the value that applies at `place`, or None."""
    otherwise = None
    for piece in pieces:
        if piece.where is None:
            otherwise = piece.value
        elif _holds(regions.as_region(piece.where), place):
            return piece.value
    return otherwise


def _holds(region: Node, place: arb) -> bool:
    for part in region.args:
        low, high = (regions.end_value(end) for end in part.args)
        if low is None or high is None:
            return False
        above = place > low or (part.value[0] == "[" and not place < low)
        below = place < high or (part.value[1] == "]" and not place > high)
        if above and below:
            return True
    return False


def _same_at_whole(
    left: list[Piece], right: list[Piece], wheres: Sequence[Node], case: Case
) -> bool:
    """Compare cases by remainder at the first whole numbers."""
    subjects = {where.note[1] for where in wheres if where.op == "family"}
    if len(subjects) != 1 or None in subjects or any(w.op != "family" for w in wheres):
        return False
    (name,) = subjects
    for number in range(1, WHOLE_POINTS + 1):
        values = [_value_at_whole(side, number) for side in (left, right)]
        if values[0] is None or values[1] is None:
            return False
        at = _number(fmpq(number))
        if not same_value(put(values[0], name, at), put(values[1], name, at), case.seed)[0]:
            return False
    return True


def _value_at_whole(pieces: list[Piece], number: int) -> Node | None:
    otherwise = None
    for piece in pieces:
        if piece.where is None:
            otherwise = piece.value
        elif any(_reaches(item, number) for item in piece.where.args):
            return piece.value
    return otherwise


def _reaches(line: Node, number: int) -> bool:
    """Tell whether the number is a value of a line such as `3 · parameter + 1`."""
    ends = [constant_value(put(line, "parameter", _number(fmpq(at)))) for at in (0, 1)]
    if not isinstance(ends[0], fmpq) or not isinstance(ends[1], fmpq) or ends[0] == ends[1]:
        return False
    return ((number - ends[0]) / (ends[1] - ends[0])).q == 1
