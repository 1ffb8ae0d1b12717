"""A group scorer without a server: what it asks is scored here and now."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_callable
from touchstone_rewards.reward_server.scorers.base import Ask, GroupScorer, Member, Score

Answer = Callable[[Ask], list[Score]]


def members_of(*responses: str, **scores: Sequence[float]) -> list[Member]:
    """Members with these responses; `key=[…]` is what the scorer `key` says of each."""
    return [
        Member(Sample(str(at), response), {key: values[at] for key, values in scores.items()})
        for at, response in enumerate(responses)
    ]


def answered(asked: Ask) -> list[Score]:
    """What the scorers say that are asked."""
    return build_callable(asked.spec.name, asked.spec.config).score(
        asked.samples, explain=asked.explain
    )


def judged(
    scorer: GroupScorer, members: Sequence[Member], answer: Answer = answered
) -> list[Score]:
    """The scores of a group, explained."""
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
