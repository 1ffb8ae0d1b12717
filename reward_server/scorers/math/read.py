"""An answer's text in, the shaped answer it states out, or why it states none.

The fast road for plain numbers, choices with their letter, words: here; all else is `parse` and
`shapes`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from reward_server.scorers.math import regions
from reward_server.scorers.math.atoms import number
from reward_server.scorers.math.normalize import single_backslashes, to_ascii, without_markup
from reward_server.scorers.math.parse import parse
from reward_server.scorers.math.shapes import shape
from reward_server.scorers.math.symbols import NUMBER_WORDS
from reward_server.scorers.math.tokens import MAX_CHARS
from reward_server.scorers.math.tree import Node, Unreadable
from reward_server.scorers.math.words import ALL_REALS, NO_SOLUTION, is_wordy, words_of

_PLAIN_NUMBER = re.compile(
    r"\s*\$?\s*(-?)\s*([0-9]{1,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30})\.?\s*\$?\s*"
)
_CHOICE = re.compile(
    r"\s*(?:\\(?:text|textbf|mathrm|mathbf|boldsymbol|bm)\s*\{\s*)?"
    r"(?:\(\s*([A-Ja-j])\s*\)|([A-J])\s*[.):])\s*\}?[\s~:.,]*(?:\\[ ,;:!]|\\q?quad)*\s*(.*)",
    re.DOTALL,
)
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
_COLON = r"(?:\\!|\s)*\{?:\}?(?:\\!|\s)*"
_TIME = re.compile(
    rf"(\d{{1,2}})(?:{_COLON}(\d\d))?(?:{_COLON}(\d\d))?"
    r"[\s~]*(?:\\[ ,;])*(?:\\(?:text|mathrm|textrm|mbox)\s*\{\s*)?(?:([ap])\.?\s?m\b\.?)?\s*\}?",
    re.IGNORECASE,
)
_WRAPPING = re.compile(r"\*\*(.+)\*\*|\\\((.+)\\\)|\\\[(.+)\\\]", re.DOTALL)
_TRAILING = " \t\n.;,。"
_NOTHING = frozenset(["nan", "none", "null", "n/a", "inf", "-inf"])


class Reading(Struct):
    """`node` is the answer stated, or None with the `reason` that there is none."""

    text: str
    node: Node | None
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.node is None else spell(self.node)


def read(text: str) -> Reading:
    """What `text` states. Never raises: text that states nothing is a Reading that says so."""
    plain = _PLAIN_NUMBER.fullmatch(text)
    if plain:
        node = number(plain[2])
        return Reading(text, Node("neg", (node,)) if plain[1] else node)
    try:
        return _read(text)
    except Unreadable as unreadable:
        return Reading(text, None, str(unreadable))


@lru_cache(maxsize=8192)
def read_ground_truth(text: str) -> Reading:
    """`read`, remembered: the samples of a group have one ground truth."""
    return read(text)


def _read(text: str) -> Reading:
    if len(text) > MAX_CHARS:
        text = text.strip()
        if len(text) > MAX_CHARS:
            raise Unreadable(f"{len(text)} characters; at most {MAX_CHARS} are read")
    plain = single_backslashes(to_ascii(without_markup(text))).strip()
    while wrapped := _WRAPPING.fullmatch(plain):
        plain = next(inner for inner in wrapped.groups() if inner is not None).strip()
    if not plain.endswith(("\\,", "\\;", "..")):
        plain = plain.rstrip(_TRAILING)
    if plain.lower() in _NOTHING:
        raise Unreadable(f"{plain!r} is no answer")
    if (clock := _TIME.fullmatch(plain)) and (clock[4] or clock[2]):
        return Reading(text, _time(clock))
    if len(plain) < 60 and (plain[-1:].isalpha() or plain.endswith("}")):
        stated = _stated_in_words(words_of(plain))
        if stated is not None:
            return Reading(text, stated)
    if (choice := _CHOICE.fullmatch(plain)) and (found := _choice(choice)):
        return Reading(text, found)
    plain = _parameter(plain)
    if ratio := _RATIO_WORDS.fullmatch(plain):
        return Reading(text, Node("ratio", (number(ratio[1]), number(ratio[2]))))
    try:
        return Reading(text, shape(parse(plain)))
    except Unreadable:
        if is_wordy(plain):
            return Reading(text, Node("text", value=plain))
        raise


def _stated_in_words(words: str) -> Node | None:
    """What a few words state that is no word: a number, the empty set, the real line, a ratio."""
    if (counted := NUMBER_WORDS.get(words)) is not None:
        return number(str(counted))
    if words in NO_SOLUTION:
        return Node("set")
    return regions.WHOLE_LINE if words in ALL_REALS else None


def _parameter(text: str) -> str:
    """`text` with what it says of a whole parameter written as a membership behind a comma."""
    if len(text) > 600:
        return text
    if found := _FOR_WHOLE.search(text):
        before = text[: found.start()].rstrip(" ({").removesuffix("\\text").rstrip(" ,;(")
        return f"{before}, {found['after'] or found['before']} \\in \\mathbb{{Z}}"
    if text.endswith(")") and (found := _IN_FIELD.search(text)) and found.start():
        return f"{text[: found.start()]}, {found[1]}"
    return text


def _time(found: re.Match[str]) -> Node:
    """A time of day with its half of the day, or a clock time with a leading zero; else a ratio."""
    parts = tuple(number(part) for part in found.groups()[:3] if part)
    half = found[4][0].lower() if found[4] else ""
    if half or any(part[0] == "0" for part in found.groups()[1:3] if part):
        return Node("time", parts, half)
    return Node("ratio", parts)


def _choice(found: re.Match[str]) -> Node | None:
    """A choice's letter, with the text beside it if that can be read."""
    letter = (found[1] or found[2]).upper()
    beside = found[3].strip().strip("$").strip("{}")
    if not beside:
        return Node("choice", value=letter)
    if beside[0] in "^_+-*/=<>!,)" or "\\cup" in beside:
        return None
    inner = read(beside)
    return None if inner.node is None else Node("choice", (inner.node,), letter)


def spell(node: Node, depth: int = 0) -> str:
    """A short plain spelling of a tree, for explanations."""
    if depth > 8:
        return "…"
    parts = [spell(part, depth + 1) for part in node.args]
    match node.op:
        case "num":
            return str(node.value)
        case "name" | "const" | "text":
            return str(node.value)
        case "add":
            return "(" + " + ".join(parts) + ")"
        case "mul":
            return "*".join(parts)
        case "neg":
            return "-" + parts[0]
        case "div":
            return f"({parts[0]}/{parts[1]})"
        case "pow":
            return f"{parts[0]}^{parts[1]}"
        case "call" | "opaque":
            return f"{node.value}({', '.join(parts)})"
        case "list":
            return ", ".join(parts)
        case "set":
            return "{" + ", ".join(parts) + "}"
        case "bracket" | "piece":
            return node.value[0] + ", ".join(parts) + node.value[1]
        case "region":
            return " ∪ ".join(parts) or "∅"
        case "assigned":
            return f"{node.value} = {parts[0]}"
    shown = "" if node.value is None else f"[{node.value}]"
    return f"{node.op}{shown}({', '.join(parts)})"
