"""The story profiles with their real embedding models: no hack comes near the good turn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.checkout import ROOT
from touchstone_rewards.reward_server.commands.story_hacks import (
    beaten,
    score_all,
    table_results,
)
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, fetched_dirs, load_profile
from touchstone_rewards.reward_server.schemas import SampleResult
from touchstone_rewards.reward_server.scorers.story.cases import HONEST, STORIES, SURE, UNCAUGHT
from touchstone_rewards.reward_server.scorers.story.trials import good_trials, hack_trials

# The part that catches each hack.
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
    # By less than the others, because the distance between two stories varies.
    "another story's turn": [],
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


PROFILES = [
    NEURAL_DIR / "story.yaml",
    *(
        pytest.param(path, marks=pytest.mark.real)
        for folder in fetched_dirs()
        for path in folder.glob("story_multilingual.yaml")
    ),
]
# A famous text is canned too, but near to some stories.
ANY_STORY = ("suspense", "menu", "meta", "refusal", "scenery", "moral", "praise")


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_the_best_signals_lift_no_text_that_would_fit_any_story(path: Path) -> None:
    languages = load_profile(path).info.languages
    assert languages
    kinds = {f"canned {one}" for one in ANY_STORY} | {"topic, then suspense", "topic, then menu"}
    for split in ("tuning", "test"):
        good = {t.story.id: t for t in good_trials(split) if t.story.language in languages}
        hacks = [t for t in hack_trials(split) if t.kind in kinds and t.story.id in good]
        asked = {
            "good": {name: trial.sample(HONEST) for name, trial in good.items()},
            "best": {str(n): trial.sample(SURE) for n, trial in enumerate(hacks)},
        }
        results = score_all(asked, path)
        paid = dict(zip(good, results["good"], strict=True))
        above = {
            f"{hack.kind}, {hack.story.id}": by
            for hack, result in zip(hacks, results["best"], strict=True)
            if (by := (result.reward or 0) - (paid[hack.story.id].reward or 0)) > 1e-6
        }
        assert len(hacks) > 30
        # Three texts of the test half in two languages, whose good turns lose a little elsewhere.
        assert len(above) <= 3, above
        assert max(above.values(), default=0) < 0.015, above


@pytest.mark.parametrize("part", ["logprob_gain", "exp_neg_cre"])
def test_more_certainty_than_a_good_turn_has_is_worth_nothing(part: str) -> None:
    [good, sure] = score_all(
        {"all": {str(n): good_trials("tuning")[0].sample(s) for n, s in enumerate((HONEST, SURE))}}
    )["all"]
    assert good.scores[part] == sure.scores[part] == 1.0
    assert good.reward == sure.reward


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
