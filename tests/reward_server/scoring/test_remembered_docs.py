"""The tables of docs/groups.md on remembered responses are what comes out."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.scorers.groups.duplicates import MIN_RUNS, Duplicates
from touchstone_rewards.reward_server.scorers.groups.texts import runs, sketch
from touchstone_rewards.reward_server.scorers.story.cases import turn
from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.reward_server.scorers.story.text import sentences
from touchstone_rewards.reward_server.scorers.story.trials import canned_texts, good_turn
from touchstone_rewards.reward_server.scoring.remembered import Remembered, SeenResponse

PAGE = (ROOT / "docs" / "groups.md").read_text(encoding="utf-8")
SHARE = Duplicates().remembered_share
# "No honest response of these resembled another with 0.2 or more."
SAID = 0.2
LANGUAGES = ("English", "Chinese")


def seen(number: int, response: str) -> SeenResponse:
    """The response to a prompt of its own."""
    found = runs(response, 5)
    kept = sketch(found) if len(found) >= MIN_RUNS else []
    return SeenResponse(f"{number}", f"{number}".encode(), array("I", kept))


def nearest(responses: Sequence[str], share: float = SHARE) -> list[float]:
    """Of each response that is long enough, the likeness with the most similar earlier one, 0 if
    it resembles none."""
    memory, found = Remembered(10_000, share), list[float]()
    for number, response in enumerate(responses):
        one = seen(number, response)
        if one.sketch:
            others = memory.given_elsewhere(one)
            found.append(others[0][0] if others else 0.0)
            memory.add(one)
    return found


def row(name: str, groups: Sequence[Sequence[str]]) -> str:
    """Responses, how many of them are long enough, how many of these are caught from the second
    prompt of their group on."""
    found = [nearest(group) for group in groups]
    later = [share for one in found for share in one[1:]]
    caught = sum(share > 0 for share in later) / len(later)
    counts = f"{sum(map(len, groups)):,} | {sum(map(len, found)):,}"
    return f"| {name} | {counts} | {caught:.1%} |"


def canned(language: str) -> list[str]:
    return [one.text for one in canned_texts() if one.language == language]


def opened(language: str) -> Iterator[list[str]]:
    """Each canned text after the first sentence of each story."""
    for text in canned(language):
        yield [
            turn(f"{sentences(story.narrative)[0]} {text}")
            for story in told_stories()
            if story.language == language
        ]


def named(language: str, every: int) -> Iterator[list[str]]:
    """Each canned text with a name of the story for every so many words."""
    joint = "" if language == "Chinese" else " "
    for text in canned(language):
        words = list(text) if language == "Chinese" else text.split()
        yield [
            turn(joint.join(_with_name(words, story.speaker or story.id, every)))
            for story in told_stories()
            if story.language == language
        ]


def _with_name(words: Sequence[str], name: str, every: int) -> list[str]:
    return [name if n % every == every // 2 else word for n, word in enumerate(words)]


def table(of: str) -> list[str]:
    return [line for line in PAGE.splitlines() if line.startswith(f"| {of}")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_good_turns_resemble_none_and_canned_texts_are_caught_from_the_second_prompt_on(
    language: str,
) -> None:
    good = [good_turn(story) for story in told_stories() if story.language == language]
    stories = len(good)
    assert max(nearest(good, SAID)) == 0.0
    assert table(f"{language}, ") == [
        row(f"{language}, good turns", [good]),
        row(f"{language}, canned text", [[turn(text)] * stories for text in canned(language)]),
        row(f"{language}, a sentence of the story, then canned text", [*opened(language)]),
        *(
            row(
                f"{language}, canned text with a name for every {every}th word",
                [*named(language, every)],
            )
            for every in (20, 12, 8)
        ),
    ]


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_solutions_of_models_resemble_none(shared_data: Path) -> None:
    rows = lines_of(shared_data / "gsm8k_model_solutions.jsonl")
    models = [key for key, value in rows[0].items() if isinstance(value, dict)]
    solutions = [[each[model]["solution"] for each in rows] for model in models]
    assert table("GSM8K") == [row(f"GSM8K, solutions of {len(models)} models", solutions)]
    responses = [
        each["response"] for each in lines_of(shared_data / "ifbench_sample_responses.jsonl")
    ]
    assert max(share for each in [*solutions, responses] for share in nearest(each, SAID)) == 0.0
    assert table("IFBench") == [row("IFBench, sample responses", [responses])]


def test_a_policy_of_a_few_texts_is_caught_once_it_has_used_them() -> None:
    for count, name in ((1, "1 canned text"), (18, "18 canned texts, drawn at random")):
        shares = " | ".join(f"{caught_of(count, prompts):.0%}" for prompts in (10, 30, 100))
        assert table(name) == [f"| {name} | {shares} |"]


def caught_of(count: int, prompts: int) -> float:
    """The share caught of the responses to so many prompts, of a policy of so many texts."""
    drawn = random.Random(0)
    texts = [turn(text) for text in canned("English")[:count]]
    found = [nearest([drawn.choice(texts) for _ in range(prompts)]) for _ in range(20)]
    return sum(share > 0 for one in found for share in one) / (20 * prompts)


def test_the_profile_shown_loads(tmp_path: Path) -> None:
    [block] = [b for b in PAGE.split("```yaml\n") if "remember:" in b]
    text = block.split("```")[0]
    (tmp_path / "shown.yaml").write_text(text)
    assert list(load_profiles([tmp_path])["shown"].remembering) == ["copies"]
    assert yaml.safe_load(text)["scorers"]["copies"]["config"]["remember"] >= 1000
