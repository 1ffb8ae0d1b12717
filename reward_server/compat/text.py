"""From a whole decoded text to the response in it. Pure, linear in the length of the text."""

from __future__ import annotations

import unicodedata
from itertools import islice

# How a turn of the user begins and how the assistant's answer does.
_TURNS = [
    ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
    ("<｜User｜>", "<｜Assistant｜>"),
]


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
