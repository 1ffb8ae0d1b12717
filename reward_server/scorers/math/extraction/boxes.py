r"""Find boxed answers from the end of a text: `\boxed{}`, `<|begin_of_box|><|end_of_box|>`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from touchstone_rewards.reward_server.scorers.math.extraction.places import (
    ANSWER_MAX_CHARS,
    FoundAnswer,
)
from touchstone_rewards.reward_server.scorers.math.extraction.values import separator

MOST_OPENINGS = 256  # box commands to examine; a text with more that hold no answer is hostile
MOST_SCANNED_CHARS = 64_000  # total over all boxes
CHAIN_MAX_BOXES = 64
JOINT_MAX_CHARS = 80

_COMMANDS = ("\\boxed", "\\fbox", "\\framebox")
_TOKEN, _TOKEN_END = "<|begin_of_box|>", "<|end_of_box|>"
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_SPACES = re.compile(r"\s*")
_BARE = re.compile(r"[^\s{}$\\.,;]+")
# Text around a joint that carries no meaning: `\boxed{1}$ and $x = \boxed{2}`.
_DECORATION = re.compile(r"\\(?:q?quad|text)(?![a-zA-Z])|\\[()\[\] ,;]|[\s$.{}*]")
_JOINT = re.compile(
    r"(?:,? ?(?:and|or|and/or|or maybe|or perhaps|or possibly|和|与|或|或者)|[,;，、；]|/)"
    r"(?: ?[A-Za-z](?:_\w{1,3})? ?=)?"
)


class Box(NamedTuple):
    """Content and position of a box; `closed` is false if the text ends inside it."""

    start: int
    text: str
    end: int
    closed: bool = True


def _openings(text: str, end: int) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each box command before `end`, the last one first."""
    marks = {mark: text.rfind(mark, 0, end) for mark in (*_COMMANDS, _TOKEN)}
    for _ in range(MOST_OPENINGS):
        mark, at = max(marks.items(), key=lambda item: item[1])
        if at < 0:
            return
        behind = at + len(mark)
        if mark is _TOKEN or not text[behind : behind + 1].isalpha():
            yield at, behind
        marks[mark] = text.rfind(mark, 0, at)


def boxes_before(text: str, end: int) -> Iterator[Box]:
    """Yield the boxes that open before `end`, the last one first.

    An unclosed box is yielded with `closed` false; boxes after it are skipped.
    """
    left = MOST_SCANNED_CHARS
    if "box" not in text:
        return
    for start, opened in _openings(text, end):
        box = _box_at(text, start, opened)
        if box is None:
            continue
        yield box
        left -= box.end - opened
        if not box.closed or left <= 0:
            return


def _box_at(text: str, start: int, opened: int) -> Box | None:
    if text.startswith(_TOKEN, start):
        closing = text.find(_TOKEN_END, opened, opened + ANSWER_MAX_CHARS)
        if closing < 0:
            return Box(start, "", len(text), closed=False)
        return Box(start, text[opened:closing].strip(), closing + len(_TOKEN_END))
    spaces = _SPACES.match(text, opened)
    at = spaces.end() if spaces else opened
    if text[at : at + 1] == "{":
        closing = _group(text, at)
        if closing is None:
            return Box(start, "", len(text), closed=False)
        return Box(start, text[at + 1 : closing], closing + 1)
    bare = _BARE.match(text, at, at + ANSWER_MAX_CHARS)
    return Box(start, bare[0], bare.end()) if bare else None


def _group(text: str, start: int) -> int | None:
    """Return the index of the brace that closes the one at `start`, or None."""
    depth = 0
    for brace in _BRACE.finditer(text, start, start + ANSWER_MAX_CHARS):
        found = brace[0]
        if found == "{":
            depth += 1
        elif found == "}":
            depth -= 1
            if depth == 0:
                return brace.start()
    return None


def find_boxes(text: str, limit: int) -> list[str]:
    """Return the contents of the last `limit` closed boxes of `text`, in order."""
    boxes: list[str] = []
    for box in boxes_before(text, len(text)):
        if not box.closed or len(boxes) == limit:
            break
        boxes.append(box.text)
    return boxes[::-1]


def last_box(text: str) -> Box | None:
    """Return the last box of `text`, which may be unclosed."""
    return next(boxes_before(text, len(text)), None)


def joint_between(text: str, start: int, end: int) -> str | None:
    """Return the joint if `text[start:end]` is nothing else: *and*,
    *or*, a comma; otherwise None."""
    if end - start > JOINT_MAX_CHARS:
        return None
    said = text[start:end].replace("\\lor", "or").replace("\\vee", "or")
    said = " ".join(_DECORATION.sub(" ", said).split())
    return said if _JOINT.fullmatch(said) else None


def find_boxed(text: str) -> FoundAnswer | None:
    """Return the last box, together with earlier ones joined by `and`, `or` or a comma.

    Return None without a box, and an answer with empty text for an unclosed box.
    """
    found = boxes_before(text, len(text))
    last = next(found, None)
    if last is None:
        return None
    if not last.closed:
        return FoundAnswer("", "boxed", last.start, last.end, last.start)
    parts, first = [last.text], last
    for before in found:
        joint = joint_between(text, before.end, first.start)
        if joint is None or not before.closed or len(parts) >= 2 * CHAIN_MAX_BOXES:
            break
        parts += [separator(joint), before.text]
        first = before
    return FoundAnswer("".join(reversed(parts)), "boxed", first.start, last.end, first.start)
