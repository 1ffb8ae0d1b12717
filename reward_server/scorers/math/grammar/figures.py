r"""Names of geometric figures: the letters after `\angle` or `\triangle`, with the figure's sign.

An angle can be named from either side, so `∠CBA` becomes `∠ABC`. The corners of a triangle keep
their order, because `\triangle ABC \sim \triangle DEF` states which corners correspond.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import subscript
from touchstone_rewards.reward_server.scorers.math.tree import Node

ANGLE, TRIANGLE, QUADRILATERAL = "∠", "△", "□"
SIGNS = (ANGLE, TRIANGLE, QUADRILATERAL)


def figure(cur: Cursor) -> Node:
    r"""Parse `\angle ABC`, `\triangle ABC` or `\angle 1` as a name."""
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
    if not corners and sign != TRIANGLE:  # a \triangle alone is used for \Delta
        raise cur.fail("expected the name of a figure")
    return Node("name", value=figure_name(sign, corners))


def _corner(cur: Cursor) -> str | None:
    """Parse one corner with its index and primes; None if there is no capital letter."""
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
    """Return the canonical name of the figure with these corners.

    >>> figure_name("∠", ["C", "B", "A"])
    '∠ABC'
    """
    if not corners:
        return sign
    if len(corners) == 1 and len(corners[0]) > 1 and corners[0].isupper():
        corners = list(corners[0])  # \angle\text{ABC}
    return sign + "".join(min(corners, corners[::-1]) if sign == ANGLE else corners)


def same_name(left: str | None, right: str | None) -> bool:
    """Tell whether two names are the same; one of them may omit the figure's sign."""
    if left == right:
        return True
    if not left or not right:
        return False
    signed, bare = (left, right) if left[0] in SIGNS else (right, left)
    if signed[0] not in SIGNS or bare[0] in SIGNS or not bare.isalpha():
        return False
    return signed == figure_name(signed[0], list(bare))
