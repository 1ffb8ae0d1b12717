"""What two scorings of a sample come to: the class of each reward, and whether they differ.

In: rewards and error codes. Out: words for them, few enough to be counted in a table.
"""

from __future__ import annotations

# Rewards nearer than this, in proportion to their size, are the same.
TOLERANCE = 1e-6


def verdict(reward: float | None, code: str | None) -> str:
    """The class of a reward: an error's code, or where it lies between and around 0 and 1."""
    if reward is None:
        return code or "no reward"
    if abs(reward) <= TOLERANCE:
        return "0"
    if abs(reward - 1) <= TOLERANCE:
        return "1"
    return "below 0" if reward < 0 else "between 0 and 1" if reward < 1 else "above 1"


def differ(one: float | None, other: float | None) -> bool:
    """Are these different rewards? Null is like null alone."""
    if one is None or other is None:
        return one is not other
    return abs(one - other) > TOLERANCE * max(1.0, abs(one), abs(other))
