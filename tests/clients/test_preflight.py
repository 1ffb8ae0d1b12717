"""The right and wrong answers that the preflight tries, and its findings on a reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from touchstone_rewards.clients.errors import PreflightFailed
from touchstone_rewards.clients.preflight import (
    NO_ANSWER,
    answer_of,
    trial_samples,
    verdict,
    wrong_of,
)
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import Sample


def found(reward: Callable[[Sample], float | None], truths: list[Any], prompt: str = "?") -> str:
    """Return the preflight's findings on a reward, given as a function of a sample."""
    rows = [
        Sample(id=str(n), response="", ground_truth=t, prompt=prompt) for n, t in enumerate(truths)
    ]
    results = [
        ScoreResult(each.id, "ok", reward(each), {}, profile="mine", fingerprint="f")
        for each in trial_samples(rows)
    ]
    return verdict(len(rows), results, "mine")


def last_box_or_all(response: str) -> str:
    start = response.rfind("\\boxed{")
    return response[start + 7 :].partition("}")[0] if start >= 0 else response


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("3 + 4 = 7.\n#### 7", "7"),
        ("so we get \\boxed{5}.", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("first \\boxed{1}, in fact \\fbox{ 2 }", "2"),
        ("a box that never ends \\boxed{3", "a box that never ends \\boxed{3"),
        (["46", "forty-six"], "46"),
        (12, "12"),
    ],
)
def test_the_answer_of_a_ground_truth_is_what_stands_for_it(truth: Any, answer: str) -> None:
    assert answer_of(truth) == answer


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("46", "56"),
        ("-9.5", "-8.5"),
        ("1000", "2000"),
        ("\\frac{1}{2}", "\\frac{2}{2}"),
        ("True", "Usvf"),
        ("D", "E"),
        ("Zz", "Aa"),
        ("是", "是7"),
        ("", "7"),
    ],
)
def test_a_wrong_answer_is_another_one_of_the_same_length(answer: str, wrong: str) -> None:
    assert wrong_of(answer) == wrong


def test_ground_truths_in_boxes_are_tried_as_their_answers() -> None:
    def reward(sample: Sample) -> float:
        return float(last_box_or_all(sample.response) == "5")

    told = found(reward, ["The sum of 2 and 3 is \\boxed{5}."])
    assert "tells right from wrong in 1 of 1 rows" in told
    assert "(mean reward 1 and 0)" in told


@pytest.mark.parametrize(
    "question", ["What is 2 + 3?", "Natalia sold clips to 48 friends and half as many in May " * 2]
)
def test_a_ground_truth_column_that_holds_the_question_is_refused(question: str) -> None:
    with pytest.raises(PreflightFailed, match="is ground_truth_column the column of the questions"):
        found(lambda _: 1.0, [question.strip()], prompt=f"Solve this. {question}\nAnswer:")


def test_a_short_answer_that_stands_in_the_prompt_is_none() -> None:
    def reward(sample: Sample) -> float:
        return float("Denver" in sample.response)

    told = found(reward, ["Denver Broncos"], prompt="The Denver Broncos won. Who won?")
    assert "tells right from wrong in 1 of 1 rows" in told


def test_wrong_answers_that_get_more_are_not_called_told_apart() -> None:
    def reward(sample: Sample) -> float:
        return float(str(sample.ground_truth) not in sample.response)

    with pytest.raises(
        PreflightFailed, match=r"rewards wrong answers more than right ones in 2 of 2 rows"
    ):
        found(reward, ["46", "12"])


def test_a_reward_for_length_looks_at_the_form_alone() -> None:
    told = found(lambda sample: float(len(sample.response)), ["46", "12"])
    assert "judges the form only" in told
    assert len(NO_ANSWER) > 2


def test_rows_that_get_no_reward_are_counted_with_the_reason() -> None:
    def reward(sample: Sample) -> float | None:
        right = str(sample.ground_truth) in sample.response
        return None if sample.ground_truth == "?" else float(right)

    told = found(reward, ["46", "?"])
    assert "in 1 of 2 rows" in told
    assert "; 1 got none: " in told


@pytest.mark.parametrize(
    ("reads", "warned_of"),
    [
        (lambda text, truth: truth in text, ["a wrong answer beside", "a list of all candidates"]),
        (lambda text, truth: last_box_or_all(text).endswith(truth), ["a wrong answer beside"]),
        (lambda text, truth: last_box_or_all(text) == truth, []),
    ],
)
def test_a_reward_that_several_answers_earn_is_warned_of(
    reads: Callable[[str, str], bool], warned_of: list[str]
) -> None:
    told = found(lambda each: float(reads(str(each.response), str(each.ground_truth))), ["46", "9"])
    assert "tells right from wrong in 2 of 2 rows" in told
    assert ("Warning" in told) == bool(warned_of)
    assert all(name in told for name in warned_of)
