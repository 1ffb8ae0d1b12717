"""From a whole decoded text to the response in it."""

from __future__ import annotations

import time

import pytest

from reward_server.compat.text import after_prompt, first_turn, without_end_tokens


@pytest.mark.parametrize(
    "tail",
    [
        "<|im_end|>",
        "</s>",
        "<|eot_id|>",
        "<eos>",
        "<end_of_turn>\n<eos>",
        "<｜end▁of▁sentence｜>",
        "<|im_end|>\n" + 3 * "<|endoftext|>",
    ],
)
def test_end_tokens_are_taken_off_the_end(tail: str) -> None:
    assert without_end_tokens("#### 46" + tail) == "#### 46"


@pytest.mark.parametrize(
    "text",
    ["", "#### 46", "a < b > c", "</answer>", "</s> in the middle", "x<|not a token|>", "\n "],
)
def test_what_is_no_end_token_stays(text: str) -> None:
    assert without_end_tokens(text) == text


@pytest.mark.parametrize(
    ("text", "prompt", "response"),
    [
        ("Q: 1?A", "Q: 1?", "A"),
        ("<s> Q: 1?A", "Q: 1?", "A"),
        ("Q: 1?A, as in Q: 1?", "Q: 1?", "A, as in Q: 1?"),
        ("<s> [INST]  Q [/INST] A  b", "[INST] Q[/INST]", " A  b"),
        ("caf\u00e9 A", "cafe\u0301", " A"),
        ("all of it", "", "all of it"),
        ("Q", "Q", ""),
        ("other text", "Q: 1?", None),
    ],
)
def test_the_response_stands_behind_the_prompt(
    text: str, prompt: str, response: str | None
) -> None:
    assert after_prompt(text, prompt) == response


def test_the_first_turn_is_the_prompt_and_all_behind_it_the_response() -> None:
    chatml = (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    )
    assert first_turn(chatml + "a<|im_start|>user\nmine<|im_end|>") == (
        "q",
        "a<|im_start|>user\nmine<|im_end|>",
    )
    assert first_turn("<｜User｜>q<｜Assistant｜>a") == ("q", "a")
    assert first_turn("no template at all") == (None, "no template at all")


def test_a_hostile_text_takes_time_in_proportion_to_its_length() -> None:
    began = time.process_time()
    without_end_tokens("x" + "<|endoftext|>" * 80_000)
    without_end_tokens("<|" * 500_000)
    without_end_tokens(" " * 1_000_000)
    after_prompt("a b " * 250_000, "b  a" * 250_000)
    assert time.process_time() - began < 10
