"""From a whole decoded text to the response in it. Pure, linear in the length of the text."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice

# What ends a text decoded with its special tokens: <|im_end|>, <|eot_id|>, </s>, padding, …
_END_TOKEN = re.compile(
    r"(?:<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</s>|<eos>|<pad>|<end_of_turn>)\s*"
)
_LONGEST_END_TOKEN = 64
# How a turn of the user begins and how the assistant's answer does.
_TURNS = [
    ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
    ("<｜User｜>", "<｜Assistant｜>"),
]


def without_end_tokens(text: str) -> str:
    """`text` without the special tokens at its end."""
    end = len(text)
    while True:
        start = text.rfind("<", max(0, end - _LONGEST_END_TOKEN), end)
        if start < 0 or not _END_TOKEN.fullmatch(text, start, end):
            return text[:end]
        end = start


def after_prompt(text: str, prompt: str) -> str | None:
    """What stands in `text` behind the first `prompt`; None if the prompt is not in it.

    Decoding may put a BOS token in front, and may change white space and the composition of
    characters: where the prompt as it stands is not found, it is looked for without those.
    """
    at = text.find(prompt)
    if at >= 0:
        return text[at + len(prompt) :]
    wanted = "".join(unicodedata.normalize("NFC", prompt).split())
    at = "".join(text.split()).find(wanted)
    if at < 0:
        return None
    visible = (place for place, character in enumerate(text) if not character.isspace())
    end = next(islice(visible, at + len(wanted) - 1, None))
    return text[end + 1 :]


def first_turn(text: str) -> tuple[str | None, str]:
    """The first user turn of a text in ChatML or DeepSeek's template, and what follows the
    assistant's marker; (None, the whole text) if it is neither."""
    for user, assistant in _TURNS:
        _, begun, rest = text.partition(user)
        prompt, answered, response = rest.partition(assistant)
        if begun and answered:
            return prompt, response
    return None, text
