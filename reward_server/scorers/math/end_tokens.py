"""Strip special tokens at the end of a decoded text, in linear time."""

from __future__ import annotations

import re

# Special tokens that can end a text: <|im_end|>, <|eot_id|>, </s>, [PAD], [/INST], …
# `<|end_of_box|>` closes an answer and is not one of them.
_END_TOKEN = re.compile(
    r"(?:<\|(?!end_of_box)[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>"
    r"|</?(?:s|eos|bos|pad|unk|eot|eod|eom|end|stop|end_of_turn|start_of_turn|end_of_text"
    r"|endoftext)>"
    r"|\[/[A-Z]{2,20}\]|\[(?:PAD|EOS|BOS|SEP|CLS|UNK|MASK|END|STOP|EOT|EOD|INST|SYS|USER|ASSISTANT)\])\s{0,9}",
    re.IGNORECASE,
)
_LONGEST_END_TOKEN = 64
_MOST_KINDS = 4_096  # runs of tokens at the end of a text; one with more is hostile


def without_end_tokens(text: str) -> str:
    """Return `text` without the special tokens at its end."""
    end = len(text)
    for _ in range(_MOST_KINDS):
        low = max(0, end - _LONGEST_END_TOKEN)
        start = max(text.rfind("<", low, end), text.rfind("[", low, end))
        if start < 0 or not _END_TOKEN.fullmatch(text, start, end):
            break
        end = _before_run(text, text[start:end], start)
    return text[:end]


def _before_run(text: str, token: str, end: int) -> int:
    """Return the start of the run of `token` that ends at `end`; padding repeats one token."""
    for times in (4_096, 64, 1):
        run = token * times
        while text.endswith(run, 0, end):
            end -= len(run)
    return end
