"""Names of figures: the letters after `\\angle` or `\\triangle`, behind the figure's sign.

An angle has its name from either side: `∠CBA` is written `∠ABC`. Corners of a triangle stay in
their order, for `\\triangle ABC \\sim \\triangle DEF` says which belongs to which.
"""

from __future__ import annotations

ANGLE, TRIANGLE, QUADRILATERAL = "∠", "△", "□"
SIGNS = (ANGLE, TRIANGLE, QUADRILATERAL)


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
