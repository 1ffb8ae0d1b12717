"""Texts decoded with their special tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.scorers.math.end_tokens import without_end_tokens
from touchstone_rewards.reward_server.scorers.math.equal import math_check

TAILS: list[Any] = [
    "<|im_end|>",
    "</s>",
    "<|eot_id|>",
    "<eos>",
    "<end_of_turn>\n<eos>",
    "<｜end▁of▁sentence｜>",
    "<|im_end|>\n" + 3 * "<|endoftext|>",
    "[PAD]",
    pytest.param(40_000 * "[PAD]", id="padding"),
    "[/INST]",
    "[EOS]\n[PAD][PAD]",
    "[/ANS]",
    "<unk><pad>",
    "<END>",
]


@pytest.mark.parametrize("tail", TAILS)
def test_end_tokens_are_taken_off_the_end(tail: str) -> None:
    assert without_end_tokens("#### 46" + tail) == "#### 46"


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("answer", ["#### 46", "The answer is 46.", "\\boxed{46}", "so we get 46"])
def test_an_answer_is_read_without_them(answer: str, tail: str) -> None:
    assert math_check(answer + tail, "46").equal
    assert not math_check(answer + tail, "47").equal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#### 46",
        "a < b > c",
        "</answer>",
        "</s> in the middle",
        "x<|not a token|>",
        "\n ",
        "[A, B]",
        "[AB]",
        "5[/]",
        "<|begin_of_box|>5<|end_of_box|>",
    ],
)
def test_what_is_no_end_token_stays(text: str) -> None:
    assert without_end_tokens(text) == text


def test_a_hostile_text_takes_time_in_proportion_to_its_length() -> None:
    with at_most(HANG_S):
        without_end_tokens("x" + "<|endoftext|>" * 80_000)
        without_end_tokens("x" + "</s>[PAD]" * 100_000)
        without_end_tokens("<|" * 500_000)
        without_end_tokens(" " * 1_000_000)
