"""Extract the response from a decoded text, prompt included. Linear in the length of the text."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice

# The markers before a user turn and before the assistant's answer.
_TURNS = [
    ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
    ("<｜User｜>", "<｜Assistant｜>"),
]
# A prompt that was cut on the left is recognised by this many of its last characters. They may
# occur several times, as chat markers do, so up to `MAX_PLACES` places are tried.
TAIL_CHARACTERS = 32
MAX_PLACES = 64
# Possible text before the rest of a cut prompt: a BOS token and part of a character.
_BEFORE = re.compile(r"(?:<[^<>\s]{1,40}>)?\ufffd*")


def after_prompt(text: str, prompt: str) -> str | None:
    """Return the part of `text` after the first `prompt`; None if the prompt is not found.

    Decoding may put a BOS token in front, and may change white space and Unicode composition; if
    the exact prompt is not found, the search ignores those. If the prompt was cut on the left, the
    text begins with the rest of it.
    """
    at = text.find(prompt)
    if at >= 0:
        return text[at + len(prompt) :]
    if (cut := _end_of_cut_prompt(text, prompt)) is not None:
        return text[cut:]
    wanted = "".join(unicodedata.normalize("NFC", prompt).split())
    dense = "".join(text.split())
    at = dense.find(wanted)
    end_of_prompt = at + len(wanted) if at >= 0 else _end_of_cut_prompt(dense, wanted)
    if end_of_prompt is None:
        return None
    visible = (place for place, character in enumerate(text) if not character.isspace())
    end = next(islice(visible, end_of_prompt - 1, None))
    return text[end + 1 :]


def _end_of_cut_prompt(text: str, prompt: str) -> int | None:
    """Return the end of a left-truncated prompt in `text`, which begins with the rest of it.

    The longest match wins. At most `MAX_PLACES` comparisons are made, so the work is linear.
    """
    tail = prompt[-TAIL_CHARACTERS:]
    begin = _BEFORE.match(text)
    starts = {0, begin.end() if begin else 0}
    limit = len(prompt) + max(starts)
    found, at = None, text.find(tail, 0, limit)
    for _ in range(MAX_PLACES):
        if at < 0:
            break
        end = at + len(tail)
        if any(start <= at and prompt.endswith(text[start:end]) for start in starts):
            found = end
        at = text.find(tail, at + 1, limit)
    return found


def first_turn(text: str) -> tuple[str | None, str]:
    """Return the first user turn of a text in ChatML or DeepSeek's template, and the text after the
    assistant's marker; (None, the whole text) if it is in neither."""
    for user, assistant in _TURNS:
        _, begun, rest = text.partition(user)
        prompt, answered, response = rest.partition(assistant)
        if begun and answered:
            return prompt, response
    return None, text
