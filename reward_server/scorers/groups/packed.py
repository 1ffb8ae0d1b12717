"""Pack a whole group into one sample, for scorers that compare texts in a worker."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Literal

import msgspec

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import GroupScorer, Member, Score
from touchstone_rewards.reward_server.scorers.returned import checked_scores, name_of

MEMBERS, SCORES = "members", "scores"


class PackedGroup:
    """Adapter for a group scorer in a worker: each of its samples holds a whole group."""

    deterministic = batch = sees_turns = any_truth = False
    languages = None
    range = (None, None)
    reads = ("metadata",)

    def __init__(self, scorer: GroupScorer) -> None:
        self.scorer = scorer
        self.version = scorer.version

    @property
    def runs_in(self) -> Literal["worker"]:
        return "worker"

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [self._score(sample, explain) for sample in samples]

    def _score(self, sample: Sample, explain: bool) -> Score:
        members = msgspec.convert(sample.metadata[MEMBERS], list[Member])
        given = self.scorer.score(members, explain=explain)
        if isinstance(given, Generator):
            raise TypeError(
                f"{name_of(self.scorer)} asks other scorers, which is not possible in a worker"
            )
        scores = checked_scores(self.scorer, given, len(members))
        return Score(0.0, None, {SCORES: msgspec.to_builtins(scores)})


def pack(name: str, members: Sequence[Member], reads: Sequence[str]) -> Sample:
    """Return one sample that holds the members, with only the fields that are read."""
    held = [
        (
            {"id": sample.id, "response": "", **{key: _plain(sample, key) for key in reads}},
            dict(scores),
        )
        for sample, scores in members
    ]
    return Sample(name, "", metadata={MEMBERS: held})


def unpack(score: Score, count: int) -> list[Score]:
    """Return the scores of the `count` members; if the group failed, its error for each."""
    if score.error is not None or score.explanation is None:
        return [score] * count
    return msgspec.convert(score.explanation[SCORES], list[Score])


def _plain(sample: Sample, key: str) -> Any:
    return msgspec.to_builtins(getattr(sample, key))
