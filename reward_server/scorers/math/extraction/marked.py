"""Find marked answers: `<answer>…</answer>` and the line after `####`."""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.end_tokens import without_end_tokens
from touchstone_rewards.reward_server.scorers.math.extraction.boxes import (
    find_boxed,
    joint_between,
)
from touchstone_rewards.reward_server.scorers.math.extraction.places import (
    ANSWER_MAX_CHARS,
    FoundAnswer,
)
from touchstone_rewards.reward_server.scorers.math.extraction.told import told
from touchstone_rewards.reward_server.scorers.math.extraction.values import separator

_HEADING = re.compile(
    r"[*_ ]{0,4}(?:(?:the|my) )?(?:(?:final|correct) )?(?:answer|result|solution|conclusion|summary"
    r"|explanation|verification|check|note|steps?(?: \d{1,3})?|最终答案|答案|结论|解答)"
    r"[*_: ：]{0,6}",
    re.IGNORECASE,
)
_OPENING, _CLOSING = "<answer>", "</answer>"


def find_answer_tag(text: str) -> FoundAnswer | None:
    """Return the content of the last answer tag, with an earlier tag that *or* joins to it."""
    end = text.rfind(_CLOSING)
    start = text.rfind(_OPENING, 0, end) if end >= 0 else -1
    if start < 0:
        return None
    said = _inner(text, start + len(_OPENING), end)
    before = text.rfind(_CLOSING, max(0, start - 100), start)
    joint = joint_between(text, before + len(_CLOSING), start) if before >= 0 else None
    first = text.rfind(_OPENING, 0, before) if joint else -1
    if joint and first >= 0:
        said = _inner(text, first + len(_OPENING), before) + separator(joint) + said
        start = first
    return FoundAnswer(said, "answer_tag", start, end + len(_CLOSING), start)


def _inner(text: str, start: int, end: int) -> str:
    inner = text[max(start, end - 2 * ANSWER_MAX_CHARS) : end]
    if "box" in inner and (box := find_boxed(inner)):
        inner = box.text
    elif "\\boxed" in inner:
        inner = ""
    return _said(inner.strip())


def _said(line: str) -> str:
    """Return the value stated by a line, or the whole line if it is not a single value."""
    found = told(line, 0, comma=False, denied=False) if "\n" not in line else None
    return found.text if found and found.is_value else line


def find_hashes(text: str) -> FoundAnswer | None:
    """Return the rest of the line after the last `####`; None for a heading
    such as `#### Final Answer`."""
    at = text.rfind("####")
    if at < 0:
        return None
    begin = at + 4
    while text[begin : begin + 1] == "#":
        begin += 1
    line, _, _ = text[begin:].lstrip().partition("\n")
    said = without_end_tokens(line.strip().partition("<|")[0])
    if _HEADING.fullmatch(said):
        return None
    return FoundAnswer(_said(said.strip()), "hashes", at, at + 4 + len(line), at)
