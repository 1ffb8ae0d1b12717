"""Run a group scorer without a server: the samples that it yields are scored on the spot."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_callable
from touchstone_rewards.reward_server.scorers.base import Ask, GroupScorer, Member, Score

Answer = Callable[[Ask], list[Score]]


def members_of(*responses: str, **scores: Sequence[float]) -> list[Member]:
    """Return members with these responses; `key=[…]` are the scores of the scorer `key`."""
    return [
        Member(Sample(str(at), response), {key: values[at] for key, values in scores.items()})
        for at, response in enumerate(responses)
    ]


def answered(asked: Ask) -> list[Score]:
    """Return the scores of the scorers that a group scorer asks."""
    return build_callable(asked.spec.name, asked.spec.config).score(
        asked.samples, explain=asked.explain
    )


def judged(
    scorer: GroupScorer, members: Sequence[Member], answer: Answer = answered
) -> list[Score]:
    """Return the scores of a group, with explanations."""
    given = scorer.score(members, explain=True)
    if not isinstance(given, Generator):
        return given
    answers: list[Score] | None = None
    while True:
        try:
            asked = next(given) if answers is None else given.send(answers)
        except StopIteration as end:
            return end.value
        assert isinstance(asked, Ask)
        answers = answer(asked)


def values(scores: Sequence[Score]) -> list[float | None]:
    return [score.value for score in scores]
