"""Another scorer's scores as win rates within the group: their scale no longer matters.

In: a group, and what the scorer `of` says of its members. Out: the share of the other members that
a response beats, a tie as half.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from touchstone_rewards.reward_server.scorers.base import Member, RunsIn, Score


class Rank:
    """`of`: the key of the scorer, a reward model for one, in the same profile."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"
    reads = ()

    def __init__(self, of: Any) -> None:
        if not isinstance(of, str):
            raise ValueError(f"of is {of!r}; expected the key of a scorer of the profile")
        self.key = of
        self.of = (of,)

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        values = [member.scores[self.key] for member in members]
        order = sorted(values)
        others = max(1, len(members) - 1)
        found: list[Score] = []
        for value in values:
            below = bisect_left(order, value)
            ties = bisect_right(order, value) - below - 1
            about = {"score": value, "beats": below, "ties": ties}
            found.append(Score((below + ties / 2) / others, None, about if explain else None))
        return found
