"""Penalize near copies within a group: a policy that always writes one text does not explore.

Each member scores minus the share of the others that are near copies of it: texts whose word runs
have a Jaccard similarity of at least `from_share`. All members of a set of copies pay alike,
because none of them came first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeGuard

from pydantic import Field

from touchstone_rewards.reward_server.scorers.base import Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.texts import (
    RunWords,
    checked_size,
    runs,
    sketch,
)

# Largest number of texts to compare a text with.
MAX_MEMBERS = 128
MOST_REMEMBERED = 10_000
# Responses with fewer distinct runs are not remembered: short ones are alike for good reasons.
MIN_RUNS = 20
# Key of the sketch in an explanation.
SKETCH = "sketch"


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
        remember: Annotated[
            int,
            Field(description="responses to keep and compare with those to other prompts; 0: none"),
        ] = 0,
        remembered_share: Annotated[
            float,
            Field(
                description="smallest similarity of a response that resembles one to another prompt"
            ),
        ] = 0.3,
    ) -> None:
        self.from_share = _checked_share("from_share", from_share)
        self.words = checked_size(words)
        self.remember = _checked_count(remember)
        self.remembered_share = _checked_share("remembered_share", remembered_share)
        if remember:
            self.reads = ("response", "prompt")

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
            Score(-count / others if count else 0.0, None, self._explained(one, count, explain))
            for one, count in zip(each, copies, strict=True)
        ]

    def _explained(
        self, found: set[tuple[str, ...]], copies: int, explain: bool
    ) -> dict[str, Any] | None:
        about: dict[str, Any] = {"copies": copies} if explain else {}
        if self.remember:
            about[SKETCH] = sketch(found) if len(found) >= MIN_RUNS else []
        return about or None

    def _alike(self, one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> bool:
        small, large = sorted((len(one), len(other)))
        if small < self.from_share * large:
            return False
        common = len(one & other)
        return common >= self.from_share * (len(one) + len(other) - common)


def remembers(scorer: object) -> TypeGuard[Duplicates]:
    """Return whether a scorer remembers responses."""
    return isinstance(scorer, Duplicates) and scorer.remember > 0


def _checked_share(name: str, share: object) -> float:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(f"{name} is {share!r}; expected a number above 0 and at most 1")
    return share


def _checked_count(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_REMEMBERED:
        raise ValueError(
            f"remember is {count!r}; expected a whole number from 0 to {MOST_REMEMBERED}"
        )
    return count
