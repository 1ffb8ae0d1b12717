"""Self-consistency: does a response give the answer that most of its group give? No ground truth.

In: a group. Out: 1.0 for the members of the largest class of equal answers, 0.0 for the others. Two
classes that are equally large are no majority. A response without an answer has 0.0 and counts.

Source: Zuo et al., "TTRL: Test-Time Reinforcement Learning" (2025), equation 2; Wang et al.,
"Self-Consistency Improves Chain of Thought Reasoning in Language Models" (2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from touchstone_rewards.reward_server.scorers.base import Judging, Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.answers import (
    MAX_MEMBERS,
    answer_classes,
    specs_of,
)


class Majority:
    """Give 1 to the members of the largest class of equal answers, 0 to the others.

    `min_share`: the part of the group that a majority must have. `math`: the config of the math
    scorer, by whose rules two answers are the same.
    """

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"
    reads = ("response",)
    max_members = MAX_MEMBERS
    of = ()

    def __init__(self, min_share: float = 0.0, math: dict[str, Any] | None = None) -> None:
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
