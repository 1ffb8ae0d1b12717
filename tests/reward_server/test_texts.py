"""Find the response in a whole decoded text."""

from __future__ import annotations

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.texts import after_prompt, first_turn

CHAT = "<|im_start|>user\nWhat is 6 + 40?<|im_end|>\n<|im_start|>assistant\nThe answer is "
SHOTS = CHAT + "47<|im_end|>\n" + CHAT


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
        (f"{CHAT[20:]}\\boxed{{46}}", CHAT, "\\boxed{46}"),
        (f"<s>{CHAT[20:]}46", CHAT, "46"),
        (f"<|begin_of_text|>\ufffd{CHAT[21:]} 46", CHAT, " 46"),
        (f"{CHAT[-50:]}46 {CHAT[-40:]}47", CHAT, f"46 {CHAT[-40:]}47"),
        (f"{SHOTS[30:]}46", SHOTS, "46"),
        (f"x{CHAT[20:]}46", CHAT, None),
        (f"{CHAT[-9:]}46", CHAT, None),
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
    with at_most(HANG_S):
        after_prompt("a b " * 250_000, "b  a" * 250_000)
        after_prompt("a" * 1_000_000, "b" + "a" * 900_000)
