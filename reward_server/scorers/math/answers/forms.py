"""Recognize answers with a form of their own from their text, before parsing.

These are times of day, choices with their letter, numbers and sets in words, and ratios in words. A
cheap test precedes each pattern, because most answers have none of these forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.answers.trimmings import inside_text
from touchstone_rewards.reward_server.scorers.math.grammar.atoms import number
from touchstone_rewards.reward_server.scorers.math.grammar.number_words import (
    number_in_words,
    ordinal_digits,
)
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import TURNING_WORDS
from touchstone_rewards.reward_server.scorers.math.grammar.words import (
    ALL_REALS,
    NO_SOLUTION,
    words_of,
)
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_WORDS_CHARS = 60

_CHOICE = re.compile(
    r"\s*(?:\\(?:text|textbf|mathrm|mathbf|boldsymbol|bm)\s*\{\s*)?"
    r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*)?(?:\(\s*([A-Ja-j])\s*\)|([A-J])\s*(?:[.)]|:\s))\s*\}?"
    r"[\s~:.]*(?:\\[ ,;:!]|\\q?quad)*\s*(.*)",
    re.DOTALL,
)
_OPTION = re.compile(r"(?:[Oo]ption|[Cc]hoice)\s+([A-J])")
_SAID = re.compile(r"(?:the\s+)?(?:final\s+|correct\s+)?answer(?:\s+is\b|\s*:)\s*", re.IGNORECASE)
_SENTENCE = re.compile(r"[tT]he(?: [a-zA-Z]{1,20}){1,10}? (?:is|are|equals) (?=[$\\0-9(-])")
_RATIO_WORDS = re.compile(r"\s*([0-9.]+)\s+(?:\\text\{\s*)?to(?:\s*\})?\s+([0-9.]+)\s*")
# Possessive quantifiers: neighbouring runs of the same characters must not trade characters.
_COLON = r"(?:\\!|\s)*+\{?:\}?(?:\\!|\s)*+"
_TIME = re.compile(
    rf"(\d{{1,2}})(?:{_COLON}(\d\d))?(?:{_COLON}(\d\d))?"
    r"[\s~]*+(?:\\[ ,;])*+(?:\\(?:text|mathrm|textrm|mbox)\s*+\{\s*+)?"
    r"(?:([ap])\.?\s?m\b\.?)?\s*+\}?",
    re.IGNORECASE | re.ASCII,
)
_JOINED = re.compile(r"(?:\\text\s?\{\s?)?(?:and|or)\b")
_CHOICE_WORDS = ("Option", "option", "Choice", "choice", "Answer", "answer")
_NO_WORDS = re.compile(r"[0-9=^_+*/<>|,()]")


def stated(text: str, read: Callable[[str], Node | None]) -> Node | None:
    """Return the answer in `text` if it has such a form; `read` parses the text beside a choice."""
    inner = (inside_text(text) or text) if text[0] == "\\" else text
    first, last = inner[0], inner[-1]
    if first.isdigit():
        text = inner
        timed = _TIME.fullmatch(text) if last in "mM.}" or ":" in text else None
        if timed and (timed[4] or timed[2]):
            return _time(timed)
        if " to" in text and (ratio := _RATIO_WORDS.fullmatch(text)):
            return Node("ratio", (number(ratio[1]), number(ratio[2])))
        ordinal = ordinal_digits(text) if last in "dht" else None
        return None if ordinal is None else number(ordinal)
    first, last = text[0], text[-1]
    if _may_be_choice(text, first):
        if option := _OPTION.fullmatch(text):
            return Node("choice", value=option[1])
        if (choice := _CHOICE.fullmatch(text)) and (found := _choice(choice, read)):
            return found
    if first.isalpha() or inner is not text:
        counted = number_in_words(inner) or ordinal_digits(inner)
        if counted is not None:
            return read(counted)
    if len(text) < MAX_WORDS_CHARS and not _NO_WORDS.search(text):
        return _in_words(words_of(text))
    return None


def _may_be_choice(text: str, first: str) -> bool:
    if first == "(":
        return ")" in text[:6]
    if first == "\\":
        return text.startswith(("\\text", "\\math", "\\bold", "\\bm"))
    if first in "ABCDEFGHIJ" and text[1:2] in (".", ")", ":", " "):
        return True
    return first in "OoCcAa" and text.startswith(_CHOICE_WORDS)


def without_lead(text: str) -> str:
    """Return `text` without a lead such as *the answer is* or *the area of the triangle is*."""
    if text[0] not in "tTaAfFcC":
        return text
    if said := _SAID.match(text):
        return text[said.end() :]
    plain = text.replace("\\ ", " ")
    led = _SENTENCE.match(plain) if text[0] in "tT" else None
    if led is None or TURNING_WORDS & set(led[0].lower().split()):
        return text
    return plain[led.end() :]


def _in_words(words: str) -> Node | None:
    """Return the empty set or the real line if named in words."""
    if words in NO_SOLUTION:
        return Node("set")
    return regions.WHOLE_LINE if words in ALL_REALS else None


def _time(found: re.Match[str]) -> Node:
    """Return a time of day if it has a.m. or p.m. or a leading zero, otherwise a ratio."""
    parts = tuple(number(part) for part in found.groups()[:3] if part)
    half = found[4][0].lower() if found[4] else ""
    if half or any(part[0] == "0" for part in found.groups()[1:3] if part):
        return Node("time", parts, half)
    return Node("ratio", parts)


def _choice(found: re.Match[str], read: Callable[[str], Node | None]) -> Node | None:
    """Return a choice's letter, with the text beside it if that can be read."""
    letter = (found[1] or found[2]).upper()
    beside = found[3].strip().strip("$").strip("{}")
    if not beside:
        return Node("choice", value=letter)
    if beside[0] in "^_+-*/=<>!,;)&" or _JOINED.match(beside) or "\\cup" in beside:
        return None
    inner = read(beside)
    return None if inner is None else Node("choice", (inner,), letter)
