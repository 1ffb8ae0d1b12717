"""A response whose prompt ends with `<think>` need not write it again."""

from __future__ import annotations

from typing import Any

import pytest

from touchstone_rewards.reward_server.schemas import Message, Sample
from touchstone_rewards.reward_server.scorers.format import FormatScorer

RESPONSE = "2+2</think><answer>\\boxed{4}</answer>"


def score(response: str, prompt: Any = None, **config: Any) -> float | None:
    [found] = FormatScorer(**config).score([Sample("a", response, prompt)])
    return found.value


def test_without_the_option_the_tag_must_be_there() -> None:
    assert score(RESPONSE, "Q <think>") == 0.0


def test_with_think_it_is_taken_as_there() -> None:
    assert score(RESPONSE, prefilled="think") == 1.0
    assert score("<think>" + RESPONSE, prefilled="think") == 1.0
    assert score("2+2 <answer>\\boxed{4}</answer>", prefilled="think") == 0.0


@pytest.mark.parametrize(
    ("prompt", "value"),
    [
        ("Q\nAssistant: <think>", 1.0),
        ("Q<|Assistant|><think>\n", 1.0),
        ([Message("user", "Q"), Message("assistant", "<think>")], 1.0),
        ("Q: what does <think> mean?", 0.0),
        ([Message("user", "Q")], 0.0),
        ([], 0.0),
        (None, 0.0),
    ],
)
def test_with_auto_the_samples_prompt_decides(prompt: Any, value: float) -> None:
    assert score(RESPONSE, prompt, prefilled="auto") == value


def test_only_auto_reads_the_prompt() -> None:
    assert FormatScorer(prefilled="think").reads == ("response",)
    assert FormatScorer(prefilled="auto").reads == ("response", "prompt")
    with pytest.raises(ValueError, match="prefilled 'yes' is not one of none, think, auto"):
        FormatScorer(prefilled="yes")  # pyright: ignore[reportArgumentType]


def test_both_styles_and_white_space_take_the_option() -> None:
    text = "2+2 </think>\n<answer> 4 </answer>"
    assert score(text, style="r1_zero", collapse_whitespace=True, prefilled="think") == 1.0
