"""Compare two scorings of a sample by the class of each reward."""

from __future__ import annotations

# Rewards whose relative difference is smaller count as equal.
TOLERANCE = 1e-6


def verdict(reward: float | None, code: str | None) -> str:
    """Return the class of a reward: its error code, or its position relative to 0 and 1."""
    if reward is None:
        return code or "no reward"
    if abs(reward) <= TOLERANCE:
        return "0"
    if abs(reward - 1) <= TOLERANCE:
        return "1"
    return "below 0" if reward < 0 else "between 0 and 1" if reward < 1 else "above 1"


def differ(one: float | None, other: float | None) -> bool:
    """Tell whether two rewards differ. Null equals only null."""
    if one is None or other is None:
        return one is not other
    return abs(one - other) > TOLERANCE * max(1.0, abs(one), abs(other))
