"""With `evaluated: required` an integer ground truth needs an integer that is written out."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.profiles import BUILTIN_DIR, load_profile
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.math import math_equal
from touchstone_rewards.reward_server.scorers.math.policy import make_policy

REQUIRED = make_policy({"evaluated": "required"})

BOTH_SIDES = [
    # ground truth, its value written out, and an equal expression that is not
    ("19", "19", "12+7"),
    ("19", "19.0", "38/2"),
    ("19", "x = 19", "x = 12+7"),
    ("19", "12+7=19", "(12+7)"),
    ("1000", "1,000", "10^3"),
    ("7000", r"7 \times 10^3", r"7 \cdot 1000"),
    ("-5", "-5", "5-10"),
    ("19 apples", "19", r"\frac{38}{2}"),
    (r"20\%", r"20\%", r"10\% + 10\%"),
    ("1, 2", "2, 1", "1, 1+1"),
    (r"\{1, 2\}", r"\{2, 1\}", r"\{1, 4/2\}"),
    ("(1, 2)", "(1, 2)", r"(1, \sqrt{4})"),
    ("5 km", "5000 m", "2+3 km"),
    ("120", "120", "5!"),
]


@pytest.mark.parametrize(("truth", "written", "unfinished"), BOTH_SIDES)
def test_only_what_is_worked_out_is_right_for_an_integer(
    truth: str, written: str, unfinished: str
) -> None:
    assert math_equal(unfinished, truth)  # without the policy it is worth the same
    assert math_equal(written, truth, REQUIRED)
    assert not math_equal(unfinished, truth, REQUIRED)


@pytest.mark.parametrize(
    ("truth", "answer"), [("1/2", "2/4"), (r"2\sqrt{3}", r"\sqrt{12}"), ("x+1", "1+x")]
)
def test_what_is_no_integer_may_be_written_in_any_way(truth: str, answer: str) -> None:
    assert math_equal(answer, truth, REQUIRED)


@pytest.mark.parametrize(
    ("profile", "form"),
    [("math_strict", r"so \boxed{%s}"), ("r1_zero", "so </think> <answer> %s </answer>")],
)
def test_the_profiles_that_follow_the_source_want_it(profile: str, form: str) -> None:
    scorer = load_profile(BUILTIN_DIR / f"{profile}.yaml").scorers["math"]
    samples = [Sample("1", form % "12+7", None, "19"), Sample("2", form % "19", None, "19")]
    assert [score.value for score in scorer.score(samples)] == [0.0, 1.0]  # pyright: ignore


def test_format_and_math_adds_both_scores_up() -> None:
    profile = load_profile(BUILTIN_DIR / "format_and_math.yaml")
    rewards: dict[str, float | None] = {}
    for response in (
        r"<think>2+2</think><answer>\boxed{4}</answer>",
        r"<think>2+2</think><answer>4</answer>",
        r"<think>2+2</think><answer>\boxed{5}</answer>",
        "The answer is 4.",
        "no idea",
    ):
        sample = Sample("1", response, None, "4")
        scores = {key: one.score([sample])[0] for key, one in profile.scorers.items()}  # pyright: ignore
        rewards[response] = profile.reward(scores)[0]
    assert list(rewards.values()) == [2.0, 1.5, 1.0, 1.0, 0.0]
