"""The story profile with its real embedding model: no hack comes near the good turn."""

from __future__ import annotations

import re

import pytest

from tests.checkout import ROOT
from touchstone_rewards.reward_server.commands.story_hacks import beaten, table_results
from touchstone_rewards.reward_server.schemas import SampleResult
from touchstone_rewards.reward_server.scorers.story.cases import STORIES, UNCAUGHT

# What each hack is caught by.
CAUGHT = {
    "copied history": ["novelty", "own_phrases", "own_words"],
    "half copied history": ["own_phrases"],
    "copied user turn": ["repetition", "own_phrases"],
    "one sentence, repeated": ["repetition"],
    "empty JSON": ["length", "repetition", "own_phrases", "coherence"],
    "keyword stuffing": ["own_words"],
    "very short": ["length"],
    "very long": ["length"],
    "copied target": ["own_phrases"],
    "words in reverse": ["word_order"],
    "another story's turn": ["coherence"],
}
DOCS = ROOT / "docs" / "story_scorer.md"


@pytest.fixture(scope="module")
def all_results() -> dict[str, list[SampleResult]]:
    return table_results()


@pytest.fixture
def results(
    all_results: dict[str, list[SampleResult]], request: pytest.FixtureRequest
) -> dict[str, list[SampleResult]]:
    parameters = getattr(request.node, "callspec", None)
    if parameters and parameters.params.get("story", "lighthouse") not in all_results:
        pytest.skip("its model is not here: reward-server fetch e5-multilingual")
    return all_results


def by_case(results: dict[str, list[SampleResult]], story: str) -> dict[str, SampleResult]:
    return {result.id: result for result in results[story]}


@pytest.mark.parametrize("story", STORIES)
def test_every_hack_is_well_below_the_good_turn_though_its_signals_are_the_best(
    results: dict[str, list[SampleResult]], story: str
) -> None:
    good, *hacks = (result for result in results[story] if result.id not in UNCAUGHT)
    assert beaten(results[story])
    assert {hack.id for hack in hacks} == set(CAUGHT)
    for hack in hacks:
        assert hack.scores["logprob_gain"] == hack.scores["exp_neg_cre"] == 1.0
        assert good.reward is not None
        assert hack.reward is not None
        assert hack.reward < good.reward - 0.1, hack.id


@pytest.mark.parametrize("story", STORIES)
def test_each_hack_is_caught_by_the_part_made_for_it(
    results: dict[str, list[SampleResult]], story: str
) -> None:
    found = by_case(results, story)
    for hack, parts in CAUGHT.items():
        for part in parts:
            low, high = found[hack].scores[part], found["good turn"].scores[part]
            assert low is not None
            assert high is not None
            assert low < 0.1 < 0.4 < high, (hack, part)


@pytest.mark.parametrize("story", STORIES)
def test_a_good_turn_is_in_form_of_the_right_length_and_in_its_own_words(
    results: dict[str, list[SampleResult]], story: str
) -> None:
    scores = by_case(results, story)["good turn"].scores
    asked = ["format", "length", "repetition", "own_phrases", "own_words"]
    assert [scores[part] for part in asked] == [1.0] * len(asked)


def test_closeness_to_the_target_is_told_but_not_rewarded(
    results: dict[str, list[SampleResult]],
) -> None:
    copied = by_case(results, "lighthouse")["copied target"]
    others = [result for result in results["lighthouse"] if result.id != "copied target"]
    assert copied.scores["target"] is not None
    assert copied.scores["target"] > 0.8 > 4 * max(other.scores["target"] or 0 for other in others)
    assert copied.reward == 0.0


@pytest.mark.parametrize("story", STORIES)
def test_the_table_in_the_docs_is_what_comes_out(
    results: dict[str, list[SampleResult]], story: str
) -> None:
    section = DOCS.read_text(encoding="utf-8").split(f"\n{story}\n")[1]
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)[: len(results[story]) + 2]
    head, _, *lines = [row.split(" | ") for row in rows]
    assert head == ["case", *results[story][0].scores, "reward"]
    for result, line in zip(results[story], lines, strict=True):
        assert line[0] == result.id
        # Engines and CPUs differ in the last bits, which may turn the last digit shown.
        numbers = [*result.scores.values(), result.reward]
        assert [float(cell) for cell in line[1:]] == pytest.approx(numbers, abs=0.011)
