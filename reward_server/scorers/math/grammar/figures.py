"""Names of figures: the letters after `\\angle` or `\\triangle`, behind the figure's sign.

An angle has its name from either side: `∠CBA` is written `∠ABC`. Corners of a triangle stay in
their order, for `\\triangle ABC \\sim \\triangle DEF` says which belongs to which.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import subscript
from touchstone_rewards.reward_server.scorers.math.tree import Node

ANGLE, TRIANGLE, QUADRILATERAL = "∠", "△", "□"
SIGNS = (ANGLE, TRIANGLE, QUADRILATERAL)


def figure(cur: Cursor) -> Node:
    """`\\angle ABC`, `\\triangle ABC`, `\\angle 1`: a name of its own."""
    sign = cur.values[cur.at]
    cur.at += 1
    braces = cur.kinds[cur.at] == "{"
    cur.at += braces
    corners: list[str] = []
    while (corner := _corner(cur)) is not None:
        corners.append(corner)
    if not corners and cur.kinds[cur.at] in ("num", "name"):
        corners = [cur.values[cur.at]]
        cur.at += 1
    if braces:
        cur.take("}")
    if not corners and sign != TRIANGLE:  # a \triangle alone is written for \Delta
        raise cur.fail("the name of a figure")
    return Node("name", value=figure_name(sign, corners))


def _corner(cur: Cursor) -> str | None:
    """One corner with its index and primes, or None where no capital letter stands."""
    kind, name = cur.kinds[cur.at], cur.values[cur.at]
    if kind not in ("name", "word", "unit") or not name.isupper():
        return None
    cur.at += 1
    if cur.kinds[cur.at] == "_":
        cur.at += 1
        name += f"_{subscript(cur)}"
    while cur.kinds[cur.at] == "'":
        name += "'"
        cur.at += 1
    return name


def figure_name(sign: str, corners: list[str]) -> str:
    """Return the one name of the figure with these corners.

    >>> figure_name("∠", ["C", "B", "A"])
    '∠ABC'
    """
    if not corners:
        return sign
    if len(corners) == 1 and len(corners[0]) > 1 and corners[0].isupper():
        corners = list(corners[0])  # \angle\text{ABC}
    return sign + "".join(min(corners, corners[::-1]) if sign == ANGLE else corners)


def same_name(left: str | None, right: str | None) -> bool:
    """Are the names the same? The sign of a figure may be left out on one side."""
    if left == right:
        return True
    if not left or not right:
        return False
    signed, bare = (left, right) if left[0] in SIGNS else (right, left)
    if signed[0] not in SIGNS or bare[0] in SIGNS or not bare.isalpha():
        return False
    return signed == figure_name(signed[0], list(bare))
