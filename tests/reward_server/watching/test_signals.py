"""Each signal against a value computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.growth import growth
from touchstone_rewards.reward_server.schemas import Sample, SampleResult
from touchstone_rewards.reward_server.watching.signals import (
    SIGNALS,
    SampleFacts,
    dominance,
    facts_of,
    length_pays,
    overpaid,
    repeated_share,
    score_signals,
)

BY_NAME = {signal.name: signal for signal in SIGNALS}


def fact(group: str = "a", **fields: Any) -> SampleFacts:
    return SampleFacts(
        "1", "", "", fields.pop("reward", 1.0), fields.pop("characters", 7), group
    )._replace(**fields)


def seen(response: str, reward: float | None = 1.0, **fields: Any) -> SampleFacts:
    sample = Sample("1", response, fields.pop("prompt", "p"), group_id="a")
    scores = fields.pop("scores", {"math": reward})
    result = SampleResult("1", "ok", reward, scores, **fields)
    return facts_of(sample, result, ("math", "judge"), {"math": 1.0, "form": 0.5})


def test_answers_alike_counts_pairs_of_different_prompts() -> None:
    facts = [fact("a", answer=1), fact("a", answer=1), fact("b", answer=1), fact("b", answer=2)]
    # Pairs across the groups, in order: 8, of which a's two with b's first are equal: 4.
    assert BY_NAME["answers_alike"].value(facts) == pytest.approx(4 / 8)
    assert BY_NAME["answers_alike"].value(facts[:2]) is None


def test_length_pays_within_a_prompt_only() -> None:
    long_pays = [fact(reward=0.0, characters=10), fact(reward=1.0, characters=100)]
    assert length_pays(long_pays) == pytest.approx(1.0)
    # An easy prompt with short responses and a hard one with long ones: nothing within either.
    apart = [fact("a", reward=1.0, characters=n) for n in (10, 20)]
    apart += [fact("b", reward=0.0, characters=n) for n in (100, 200)]
    assert length_pays(apart) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [("a b c", 0.0), ("a b c d e f", 0.0), ("x x x x x x", pytest.approx(2 / 3)), ("", 0.0)],
)
def test_repeated_share(text: str, share: float) -> None:
    assert repeated_share(text) == share


def test_dominance_is_the_greatest_share_of_what_is_paid() -> None:
    facts = [fact(paid={"math": 1.0, "form": 0.5}), fact(paid={"math": 0.0, "form": 0.5})]
    assert dominance(facts) == pytest.approx(0.5)
    assert dominance([fact(paid={"math": 1.0})]) is None


def test_facts_of_a_sample() -> None:
    one = seen("\\boxed{1} or \\boxed{2}", scores={"math": 1.0, "form": 1.0, "judge": 0.0})
    assert one.several
    assert one.differs
    assert one.paid == {"math": 1.0, "form": 0.5}
    assert not seen("\\boxed{1}", scores={"math": 1.0, "judge": None}).several
    assert seen("x", scores={"math": 1.0, "judge": None}).differs is None
    assert seen("ааbb").foreign == 0.5  # two of Cyrillic
    assert seen("x", None, undecided=["math"]).undecided
    prompt = "How many apples are there in the box that stands behind the door of the house?"
    assert seen(f"You ask: {prompt} So 4.", prompt=prompt).echo
    assert not seen("So 4.", prompt=prompt).echo


def test_a_score_that_falls_has_a_signal_of_its_own() -> None:
    facts = [seen("x", scores={"math": 0.0, "form": 1.0}), seen("x", scores={"math": 1.0})]
    by_name = {signal.name: signal.value(facts) for signal in score_signals(facts)}
    assert by_name == {"score_falls:math": 0.5, "score_falls:form": 1.0}


def test_overpaid_is_the_reward_above_the_second_profiles() -> None:
    assert overpaid(fact(reward=1.0, truth=0.25)) == 0.75
    assert overpaid(fact(reward=1.0)) is None


@pytest.mark.parametrize("piece", ["so it is ", "\\boxed{1}", "<answer>", "аб", "a"])
def test_facts_are_linear_in_the_text(piece: str) -> None:
    grown, _ = growth(lambda text: seen(text, prompt="p" * 80), lambda size: piece * size)
    assert not grown
