"""From a whole decoded text to the response in it."""

from __future__ import annotations

import time

import pytest

from touchstone_rewards.reward_server.compat.text import after_prompt, first_turn


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
    after_prompt("a b " * 250_000, "b  a" * 250_000)
    assert time.process_time() - began < 10
