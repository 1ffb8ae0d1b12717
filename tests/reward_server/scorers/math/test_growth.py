"""Twice the text takes twice the time: the scorer as a whole, over spaces, repeats, nesting."""

from __future__ import annotations

import pytest

from tests.growth import MOST_GROWTH, Build, drawn_texts, growth
from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, math_check
from touchstone_rewards.reward_server.scorers.math.equal import compare

pytestmark = pytest.mark.long
DRAWN = 150


def as_response(text: str) -> None:
    """Judge the text as a response, and as a ground truth with the answer somewhere in it."""
    math_check(text, "12")
    try:
        math_check("\\boxed{12}", text)
    except UnreadableGroundTruth:
        return


def as_answer(text: str) -> None:
    """Judge the text as an answer and as an acceptable answer, both without surroundings."""
    compare(text, "12")
    try:
        compare("12", text)
        compare(text, f"{text}1")
    except UnreadableGroundTruth:
        return


FOUND: dict[str, Build] = {
    "boxes joined over spaces": lambda n: (
        f"\\boxed{{12}}{' ' * (n // 2)}or{' ' * (n // 2)}!\\boxed{{12}}"
    ),
    "the longest joint that is looked at": lambda n: (
        f"\\boxed{{12}}{' ' * 38}or{' ' * 38}!\\boxed{{12}}" * (n // 500)
    ),
    "spaces in a box": lambda n: f"\\boxed{{{' ' * n}x}}",
    "newlines": lambda n: "\n" * n,
    "names that begin like a box": lambda n: "\\fboxx" * (n // 6),
    "a flood of boxes": lambda n: "\\boxed{x}" * (n // 9),
    "open boxes": lambda n: "\\boxed{" * (n // 7),
    "dollars": lambda n: "$" * n,
    "opening brackets": lambda n: "\\(" * (n // 2),
    "spaces behind a dollar": lambda n: "$5$" + " " * n + "x",
    "end tokens": lambda n: "12" + "</s>" * (n // 4),
}


@pytest.mark.parametrize("build", FOUND.values(), ids=list(FOUND))
def test_a_response_that_was_slow_once_takes_time_in_proportion(build: Build) -> None:
    grew, text = growth(as_response, build)
    assert not grew, f"{grew:.0f} times: {text[:200]!r}"


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_response_takes_time_in_proportion(seed: int) -> None:
    for build in drawn_texts(DRAWN // 6, seed):
        grew, text = growth(as_response, build)
        assert not grew, f"{grew:.0f} times: {text[:200]!r}"


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_answer_takes_time_in_proportion(seed: int) -> None:
    for build in drawn_texts(DRAWN // 6, 100 + seed):
        grew, text = growth(as_answer, build)
        assert not grew, f"{grew:.0f} times: {text[:200]!r}"


def test_growth_is_seen_where_there_is_some() -> None:
    def quadratic(text: str) -> int:
        return sum(text.count("b", at) for at in range(len(text)))

    assert growth(quadratic, lambda size: "a" * size)[0] >= MOST_GROWTH
    assert growth(lambda text: sum(map(ord, text * 9)), lambda size: "a" * size)[0] == 0
