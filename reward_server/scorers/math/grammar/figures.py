"""Names of figures: which letters after `\\angle` or `\\triangle` name the same angle or triangle.

A name begins with the figure's sign and has its letters in one order: `∠CBA` is written `∠ABC`.
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
    if sign == ANGLE:
        ordered = min(corners, corners[::-1])
    elif sign == TRIANGLE:
        ordered = sorted(corners)
    else:
        ordered = min(
            way[at:] + way[:at] for way in (corners, corners[::-1]) for at in range(len(corners))
        )
    return sign + "".join(ordered)


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
