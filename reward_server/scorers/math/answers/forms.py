"""Answers with a form of their own, seen in their text before any parsing.

Times of day, choices with their letter, numbers and sets in words, ratios in words; and what is
said of a whole parameter. Each look is behind a glance at the text, for most answers are none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.grammar.atoms import number
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import NUMBER_WORDS
from touchstone_rewards.reward_server.scorers.math.grammar.words import (
    ALL_REALS,
    NO_SOLUTION,
    words_of,
)
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_WORDS_CHARS = 60
MAX_PARAMETER_CHARS = 600

_CHOICE = re.compile(
    r"\s*(?:\\(?:text|textbf|mathrm|mathbf|boldsymbol|bm)\s*\{\s*)?"
    r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*)?(?:\(\s*([A-Ja-j])\s*\)|([A-J])\s*(?:[.)]|:\s))\s*\}?"
    r"[\s~:.]*(?:\\[ ,;:!]|\\q?quad)*\s*(.*)",
    re.DOTALL,
)
_OPTION = re.compile(r"(?:[Oo]ption|[Cc]hoice)\s+([A-J])")
_SAID = re.compile(r"(?:the\s+)?(?:final\s+|correct\s+)?answer(?:\s+is\b|\s*:)\s*", re.IGNORECASE)
_RATIO_WORDS = re.compile(r"\s*([0-9.]+)\s+(?:\\text\{\s*)?to(?:\s*\})?\s+([0-9.]+)\s*")
# `for all positive integers n`, `where k is an integer`, `(k \in \mathbb{Z})`: beside an answer.
_FOR_WHOLE = re.compile(
    r"\b(?:where|for|with)\s(?:some |any |all |every |each |an )?"
    r"(?:positive |nonnegative |non-negative |nonzero )?(?:\}\s?)?"
    r"(?:integers? (?:\} ?)?\$?(?P<after>[a-zA-Z])\$?"
    r"|\$?(?P<before>[a-zA-Z])\$? ?(?:\\text ?\{ ?)?is an(?:y)?(?: positive)? integer)"
    r" ?\}?\)? ?$"
)
_IN_FIELD = re.compile(r"\(\s?([a-zA-Z] ?\\in ?(?:\\mathbb ?\{?)?[ZNQR]\}?)\s?\)$")
# Runs are possessive: neighbours that take the same characters never share a run out.
_COLON = r"(?:\\!|\s)*+\{?:\}?(?:\\!|\s)*+"
_TIME = re.compile(
    rf"(\d{{1,2}})(?:{_COLON}(\d\d))?(?:{_COLON}(\d\d))?"
    r"[\s~]*+(?:\\[ ,;])*+(?:\\(?:text|mathrm|textrm|mbox)\s*+\{\s*+)?"
    r"(?:([ap])\.?\s?m\b\.?)?\s*+\}?",
    re.IGNORECASE | re.ASCII,
)
_CHOICE_WORDS = ("Option", "option", "Choice", "choice", "Answer", "answer")
_NO_WORDS = re.compile(r"[0-9=^_+*/<>|,()]")


def stated(text: str, read: Callable[[str], Node | None]) -> Node | None:
    """What `text` states if it has a form of its own; `read` reads what stands beside a choice."""
    first, last = text[0], text[-1]
    if first.isdigit():
        timed = _TIME.fullmatch(text) if last in "mM.}" or ":" in text else None
        if timed and (timed[4] or timed[2]):
            return _time(timed)
        if " to" in text and (ratio := _RATIO_WORDS.fullmatch(text)):
            return Node("ratio", (number(ratio[1]), number(ratio[2])))
        return None
    if _may_be_choice(text, first):
        if option := _OPTION.fullmatch(text):
            return Node("choice", value=option[1])
        if (choice := _CHOICE.fullmatch(text)) and (found := _choice(choice, read)):
            return found
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
    """`text` without *the answer is* before it."""
    if text[0] in "tTaAfFcC" and (said := _SAID.match(text)):
        return text[said.end() :]
    return text


def _in_words(words: str) -> Node | None:
    """A number, the empty set or the real line in words."""
    if (counted := NUMBER_WORDS.get(words)) is not None:
        return number(str(counted))
    if words in NO_SOLUTION:
        return Node("set")
    return regions.WHOLE_LINE if words in ALL_REALS else None


def with_parameter(text: str) -> str:
    """`text` with what it says of a whole parameter written as a membership behind a comma."""
    if len(text) > MAX_PARAMETER_CHARS:
        return text
    if "integer" in text and (found := _FOR_WHOLE.search(text)):
        before = text[: found.start()].rstrip(" ({").removesuffix("\\text").rstrip(" ,;(")
        return f"{before}, {found['after'] or found['before']} \\in \\mathbb{{Z}}"
    if text[-1] == ")" and (found := _IN_FIELD.search(text)) and found.start():
        return f"{text[: found.start()]}, {found[1]}"
    return text


def _time(found: re.Match[str]) -> Node:
    """A time of day with its half of the day, or a clock time with a leading zero; else a ratio."""
    parts = tuple(number(part) for part in found.groups()[:3] if part)
    half = found[4][0].lower() if found[4] else ""
    if half or any(part[0] == "0" for part in found.groups()[1:3] if part):
        return Node("time", parts, half)
    return Node("ratio", parts)


def _choice(found: re.Match[str], read: Callable[[str], Node | None]) -> Node | None:
    """A choice's letter, with the text beside it if that can be read."""
    letter = (found[1] or found[2]).upper()
    beside = found[3].strip().strip("$").strip("{}")
    if not beside:
        return Node("choice", value=letter)
    if beside[0] in "^_+-*/=<>!,;)&" or beside.startswith("and") or "\\cup" in beside:
        return None
    inner = read(beside)
    return None if inner is None else Node("choice", (inner,), letter)
