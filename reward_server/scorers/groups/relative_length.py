"""Score the length of a response relative to its group.

The shortest member scores 0.5, the longest -0.5. With `of`, a response that this scorer does not
accept scores at most 0, so that brevity alone earns nothing.

Source: Kimi Team, "Kimi k1.5: Scaling Reinforcement Learning with LLMs" (2025), section 2.3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from touchstone_rewards.reward_server.scorers.base import Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.texts import words


class RelativeLength:
    """Score 0.5 for the shortest member of a group, down to -0.5 for the longest."""

    version = "1"
    range = (-0.5, 0.5)
    runs_in: RunsIn = "group"
    reads = ("response",)

    def __init__(
        self,
        of: Annotated[
            Any, Field(description="key of the scorer that tells right responses; null: none does")
        ] = None,
        right_from: Annotated[Any, Field(description="least score of `of` for a right one")] = 1.0,
        unit: Annotated[str, Field(description="characters or words")] = "characters",
    ) -> None:
        if of is not None and not isinstance(of, str):
            raise ValueError(f"of is {of!r}; expected the key of a scorer of the profile")
        if unit not in ("characters", "words"):
            raise ValueError(f"unit is {unit!r}; expected characters or words")
        if isinstance(right_from, bool) or not isinstance(right_from, int | float):
            raise ValueError(f"right_from is {right_from!r}; expected a number")
        self.key, self.right_from, self.unit = of, right_from, unit
        self.of = () if of is None else (of,)

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        sizes = [self._length(member.sample.response) for member in members]
        least, most = min(sizes), max(sizes)
        found: list[Score] = []
        for member, size in zip(members, sizes, strict=True):
            value = 0.5 - (size - least) / (most - least) if most > least else 0.0
            right = self.key is None or member.scores[self.key] >= self.right_from
            about = {"length": size, "shortest": least, "longest": most}
            about |= {} if self.key is None else {"right": right}
            value = value if right else min(0.0, value)
            found.append(Score(value, None, about if explain else None))
        return found

    def _length(self, response: str) -> int:
        return len(response) if self.unit == "characters" else len(words(response))
