"""Twice the text takes twice the time: the rules on format, those on stories, and the watch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.growth import drawn_texts, growth
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.format import FormatScorer
from touchstone_rewards.reward_server.scorers.groups.texts import runs, sketch
from touchstone_rewards.reward_server.scorers.story import text
from touchstone_rewards.reward_server.scorers.story.rules import RULES, RulePart
from touchstone_rewards.reward_server.watching.hacking import final_answer

pytestmark = pytest.mark.long
DRAWN = 40


def _scored(scorer: FormatScorer | RulePart) -> Callable[[str], object]:
    signals = {"logprob_gain": 0.1, "exp_neg_cre": 0.2, "history_tokens": 7}
    return lambda response: scorer.score([Sample("1", response, signals=signals)], explain=True)


JUDGES: dict[str, Callable[[str], object]] = {
    "format think_answer": _scored(FormatScorer("think_answer", collapse_whitespace=True)),
    "format r1_zero": _scored(FormatScorer("r1_zero")),
    **{f"story {part}": _scored(RulePart(part)) for part in RULES},
    "story sentences": text.sentences,
    "the watch's answer": final_answer,
    "a sketch": lambda response: sketch(runs(response, 5)),
}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=list(JUDGES))
def test_a_drawn_text_takes_time_in_proportion(judge: Callable[[str], object]) -> None:
    for seed, build in enumerate(drawn_texts(DRAWN, 7)):
        grew, drawn = growth(judge, build)
        assert not grew, f"{seed}: {grew:.0f} times: {drawn[:200]!r}"


@pytest.mark.parametrize("depth", [600, 100_000])
def test_a_story_nested_in_brackets_gets_a_score(depth: int) -> None:
    for response in ("[" * depth + "]" * depth, f"```json\n{'[' * depth}\n```"):
        assert RulePart("format").score([Sample("1", response)])[0].value is not None
