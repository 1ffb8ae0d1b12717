"""The quick path of `tags` gives the scores of the path that explains them."""

from __future__ import annotations

import random

import pytest

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.tags import TagsScorer

PIECES = ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{4}", "\\boxed{", "}", " ", "x"]


@pytest.mark.parametrize("boxed_in", [None, "answer", "think"])
def test_pairs_anywhere_score_the_same_with_and_without_an_explanation(
    boxed_in: str | None,
) -> None:
    scorer = TagsScorer(
        order="any", gap="any", outside="any", once=False, filled=False, boxed_in=boxed_in
    )
    dice = random.Random(3)
    samples = [
        Sample(str(i), "".join(dice.choices(PIECES, k=dice.randint(0, 12)))) for i in range(3000)
    ]
    quick = [score.value for score in scorer.score(samples)]
    assert quick == [score.value for score in scorer.score(samples, explain=True)]
    assert len(set(quick)) == (2 if boxed_in is None else 3)
