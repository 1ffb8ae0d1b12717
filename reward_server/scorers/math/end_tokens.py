"""The special tokens at the end of a text that was decoded with them. Pure, linear in time."""

from __future__ import annotations

import re

# What ends a text decoded with its special tokens: <|im_end|>, <|eot_id|>, </s>, padding, …
_END_TOKEN = re.compile(
    r"(?:<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</s>|<eos>|<pad>|<end_of_turn>)\s*"
)
_LONGEST_END_TOKEN = 64


def without_end_tokens(text: str) -> str:
    """`text` without the special tokens at its end."""
    end = len(text)
    while True:
        start = text.rfind("<", max(0, end - _LONGEST_END_TOKEN), end)
        if start < 0 or not _END_TOKEN.fullmatch(text, start, end):
            return text[:end]
        end = start
