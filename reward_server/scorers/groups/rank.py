"""Score win rates within a group, by another scorer's scores or by a pairwise judge.

A response scores the share of the other members that it beats; a tie counts half. A judge sees each
pair in both orders. Pairs without a verdict are ignored; a response with verdicts on fewer than
half of its pairs has no score.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample, is_object
from touchstone_rewards.reward_server.scorers.base import (
    Ask,
    Judging,
    Member,
    RunsIn,
    Score,
    ScorerSpec,
)
from touchstone_rewards.reward_server.scorers.check import MAX_MEMBERS
from touchstone_rewards.reward_server.scorers.rules.rule import ResponsePart, part_of

# 496 pairs, each in both orders.
MAX_JUDGED = 32


class Rank:
    """Score the share of the other members that a response beats; a tie counts half."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"

    def __init__(
        self,
        of: Annotated[Any, Field(description="key of the profile's scorer to compare by")] = None,
        judge: Annotated[
            Any, Field(description="instead of `of`: config of a judge that compares pairs")
        ] = None,
    ) -> None:
        if (of is None) == (judge is None):
            raise ValueError("set either of or judge")
        if judge is not None and not is_object(judge):
            raise ValueError(f"judge is {judge!r}; expected the config of a judge scorer")
        if of is not None and not isinstance(of, str):
            raise ValueError(f"of is {of!r}; expected the key of a scorer of the profile")
        self.key: str = of or ""
        self.of = (of,) if of is not None else ()
        config: dict[str, Any] = {"prompt": "pairwise", **(judge or {}), "form": "pair"}
        self.judge = ScorerSpec("judge", config)
        self.part: ResponsePart = config.get("part", "said")
        self.asks = () if judge is None else (self.judge,)
        self.reads = () if judge is None else ("response", "prompt")
        self.max_members = MAX_MEMBERS if judge is None else MAX_JUDGED

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score] | Judging:
        return self._judged(members, explain) if self.asks else self._ranked(members, explain)

    def _ranked(self, members: Sequence[Member], explain: bool) -> list[Score]:
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

    def _judged(self, members: Sequence[Member], explain: bool) -> Judging:
        texts = [member.sample.response for member in members]
        empty = {text for text in texts if not (part_of(text, self.part) or "").strip()}
        # Identical, empty and repeated pairs cost no call.
        pairs = list(combinations(sorted(set(texts) - empty), 2))
        prompt = members[0].sample.prompt
        asked = [Sample("", one, prompt=prompt, ground_truth=other) for one, other in pairs]
        verdicts = dict(zip(pairs, (yield Ask(self.judge, asked)), strict=True))
        return [_win_rate(at, texts, empty, verdicts, explain) for at in range(len(texts))]


def _win_rate(
    at: int,
    texts: Sequence[str],
    empty: set[str],
    verdicts: Mapping[tuple[str, str], Score],
    explain: bool,
) -> Score:
    """Return the share of the other members that one beats, from the verdicts on its pairs."""
    mine, wins, unknown = texts[at], list[float](), list[Score]()
    for other in [*texts[:at], *texts[at + 1 :]]:
        if mine in empty or other in empty or mine == other:
            wins.append(0.5 + ((other in empty) - (mine in empty)) / 2)
            continue
        first = mine < other
        verdict = verdicts[(mine, other) if first else (other, mine)]
        if verdict.value is None:
            unknown.append(verdict)
        else:
            wins.append(verdict.value if first else 1.0 - verdict.value)
    if len(unknown) > len(wins):
        return unknown[0]
    told = {"compared": len(wins), "without_verdict": len(unknown)} if explain else None
    return Score(sum(wins) / len(wins), None, told)
