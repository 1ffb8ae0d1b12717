"""Score self-consistency: whether a response gives its group's majority answer. No ground truth.

Members of the largest class of equal answers score 1.0, the others 0.0. Two equally large classes
are not a majority. A response without an answer scores 0.0 and counts as a member.

Source: Zuo et al., "TTRL: Test-Time Reinforcement Learning" (2025), equation 2; Wang et al.,
"Self-Consistency Improves Chain of Thought Reasoning in Language Models" (2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from touchstone_rewards.reward_server.scorers.base import Judging, Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.answers import (
    MAX_MEMBERS,
    MathConfig,
    answer_classes,
    specs_of,
)


class Majority:
    """Score 1 for members of the largest class of equal answers, 0 for the others."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"
    reads = ("response",)
    max_members = MAX_MEMBERS
    of = ()

    def __init__(
        self,
        min_share: Annotated[
            float, Field(description="smallest share of the group for a majority")
        ] = 0.0,
        math: MathConfig = None,
    ) -> None:
        if isinstance(min_share, bool) or not 0 <= min_share <= 1:
            raise ValueError(f"min_share is {min_share!r}; expected a number from 0 to 1")
        self.min_share = min_share
        self.specs = specs_of(math or {})
        self.asks = tuple(self.specs)

    def score(self, members: Sequence[Member], *, explain: bool = False) -> Judging:
        classes = yield from answer_classes(members, self.specs)
        judged = len(members) - len(classes.errors)
        sizes = {one: size for one, size in classes.sizes.items() if one >= 0}
        most = max(sizes.values(), default=0)
        largest = [one for one, size in sizes.items() if size == most]
        wins = largest[0] if len(largest) == 1 and most >= self.min_share * judged else None

        def explained(at: int) -> dict[str, Any]:
            mine = classes.of[at]
            return {
                "answer": classes.answers[at],
                "same_answer": sizes.get(mine, 0),
                "members": judged,
                "rule": "no majority"
                if wins is None
                else "the majority's"
                if mine == wins
                else "not the majority's",
            }

        return [
            classes.errors.get(at)
            or Score(float(one == wins), None, explained(at) if explain else None)
            for at, one in enumerate(classes.of)
        ]
