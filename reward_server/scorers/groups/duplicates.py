"""Penalize near copies within a group: a policy that always writes one text does not explore.

Each member scores minus the share of the others that are near copies of it: texts whose word runs
have a Jaccard similarity of at least `from_share`. All members of a set of copies pay alike,
because none of them came first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from touchstone_rewards.reward_server.scorers.base import Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.texts import RunWords, checked_size, runs

# Largest number of texts to compare a text with.
MAX_MEMBERS = 128


class Duplicates:
    """Score minus the share of the other members that are near copies of the response."""

    version = "1"
    range = (-1.0, 0.0)
    runs_in: RunsIn = "group"
    reads = ("response",)
    max_members = MAX_MEMBERS

    def __init__(
        self,
        from_share: Annotated[
            float, Field(description="smallest Jaccard similarity of near copies")
        ] = 0.8,
        words: RunWords = 5,
    ) -> None:
        if isinstance(from_share, bool) or not 0 < from_share <= 1:
            raise ValueError(
                f"from_share is {from_share!r}; expected a number above 0 and at most 1"
            )
        self.from_share = from_share
        self.words = checked_size(words)

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        each = [runs(member.sample.response, self.words) for member in members]
        copies = [0] * len(each)
        for i, one in enumerate(each):
            for j in range(i):
                if self._alike(one, each[j]):
                    copies[i] += 1
                    copies[j] += 1
        others = max(1, len(members) - 1)
        return [
            Score(-count / others if count else 0.0, None, {"copies": count} if explain else None)
            for count in copies
        ]

    def _alike(self, one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> bool:
        small, large = sorted((len(one), len(other)))
        if small < self.from_share * large:
            return False
        common = len(one & other)
        return common >= self.from_share * (len(one) + len(other) - common)
