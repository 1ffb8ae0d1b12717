"""Near copies inside a group cost: a policy with one text for every try explores nothing.

In: a group. Out: for each member, minus the share of the others that are near copies of it: two
texts of which the runs of words are the same to `from_share` (Jaccard). All members of a set of
copies pay alike, because none of them came first.
"""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.scorers.base import Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.texts import checked_size, runs

# A text is held against at most so many others.
MAX_MEMBERS = 128


class Duplicates:
    """Take away the share of the other members that are near copies of the response.

    `from_share`: the part of their runs that makes two texts near copies. `words`: the length of a
    run.
    """

    version = "1"
    range = (-1.0, 0.0)
    runs_in: RunsIn = "group"
    reads = ("response",)
    max_members = MAX_MEMBERS

    def __init__(self, from_share: float = 0.8, words: int = 5) -> None:
        if isinstance(from_share, bool) or not 0 < from_share <= 1:
            raise ValueError(f"from_share is {from_share!r}; expected a number above 0, up to 1")
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
