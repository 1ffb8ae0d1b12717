"""Find faults and ambiguities in one ground truth before anything is trained on it.

It reads as the scorer reads. A finding has a kind, a message, and a replacement only if it is
certain.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from touchstone_rewards.reward_server.schemas import is_list
from touchstone_rewards.reward_server.scorers.math.answers.read import Reading, read
from touchstone_rewards.reward_server.scorers.math.equal import (
    UnreadableGroundTruth,
    ground_truth_texts,
    has_unknown_part,
)
from touchstone_rewards.reward_server.scorers.math.grammar.words import words_of
from touchstone_rewards.reward_server.scorers.math.numbers.regions import INFINITY, MINUS_INFINITY
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import same_value
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import TooMuchWork, refill
from touchstone_rewards.reward_server.scorers.math.policy import DEFAULT, Policy
from touchstone_rewards.reward_server.scorers.math.rules.compare import same_as_itself
from touchstone_rewards.reward_server.scorers.math.rules.quantity_rules import phrase
from touchstone_rewards.reward_server.scorers.math.tree import (
    VALUES,
    Node,
    TooLarge,
    Unreadable,
    contains,
)

Kind = Literal[
    "missing", "not_text", "unreadable", "beyond_limits", "encoded_list", "lost_backslash", "html",
    "list_or_decimal", "list_or_thousands", "alternatives", "approximation", "unit", "words",
    "prose", "float_digits", "unread_part", "ellipsis", "itself_only",
]  # fmt: skip
KINDS: dict[str, str] = {
    "missing": "there is no ground truth",
    "not_text": "it is not a text, a number or a list of these",
    "unreadable": "the scorer cannot read it: no reward unless the response has the same text",
    "beyond_limits": "it is too long, too deep or too much work: no reward for most responses",
    "encoded_list": "it is a list encoded as a text",
    "lost_backslash": "a backslash of its LaTeX was lost",
    "html": "it contains HTML entities",
    "list_or_decimal": "it may be a list of two numbers or a number with a decimal comma",
    "list_or_thousands": "it may be a pair or one number with a thousands separator",
    "alternatives": "it says `or`: a response must give all its values",
    "approximation": "it contains an approximation",
    "unit": "it is read with a unit",
    "words": "words beside its value are ignored",
    "prose": "it is read as words: only the same words match",
    "float_digits": "it has the digits of a float that is not exact",
    "unread_part": "a limit, integral or similar cannot be evaluated: only the same text matches",
    "ellipsis": "it has an ellipsis: only the same ellipsis matches",
    "itself_only": "its value is unknown: only the same expression matches",
}
PROSE_WORDS = 3

_TWO_NUMBERS = re.compile(r"[-+]?\d+(?:,|\{,\})\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:(?:,|\{,\})\d{3})+")
_PAIR_OR_THOUSANDS = re.compile(r"[(\[]-?\d{1,3}(?:,\d{3})+[)\]]")
_DOTTED_THOUSANDS = re.compile(r"-?\d{1,3}(?:\.\d{3}){2,}")
_FLOAT = re.compile(r"-?\d{0,20}\.\d{15,40}")
_APPROXIMATE = re.compile(r"\\(?:thick)?approx|\\simeq|\\doteq|[≈≃≒≐≊]")
# Control characters that JSON and Python make of \frac, \beta, \text, \right, \neq with a single
# backslash.
_EATEN = {"\x0c": "\\f", "\x08": "\\b", "\t": "\\t", "\r": "\\r", "\x07": "\\a", "\x0b": "\\v"}
_EATEN_COMMAND = re.compile(
    "\x0c(?=rac|orall)|\x08(?=eta|inom|oxed|egin|ar|mod|f\\b)|\t(?=ext|imes|heta|an|frac|riangle|o\\b)"
    "|\r(?=ight|ho|angle|floor|ceil)|\x07(?=lpha|pprox|ngle|rc|sin)|\x0b(?=ec|ert|arepsilon|phi)"
)
_BARE_COMMAND = re.compile(
    r"(?<![\\a-zA-Z])(?:[dt]?frac(?=\{)|sqrt(?=[\[{])|binom(?=\{)|text(?=\{)|mathbb(?=\{)"
    r"|begin(?=\{)|end(?=\{)|boxed(?=\{))"
)
_LAYOUT = ("\\\\", "\\quad", "\\qquad", "\\,", "\\;", "\\:", "\\!", "\\ ")


class Finding(Struct, frozen=True, omit_defaults=True):
    """One fault or doubt: its kind, a message, and a replacement if certain."""

    kind: Kind
    said: str
    suggestion: str | list[str] | None = None


def lint_truth(truth: object, policy: Policy = DEFAULT) -> list[Finding]:
    """Return the faults and doubts of a ground truth; an empty list if it is fine.

    Example:
        >>> [finding.kind for finding in lint_truth("3,7")]
        ['list_or_decimal']
    """
    if truth is None or truth == "" or (isinstance(truth, float) and math.isnan(truth)):
        return [Finding("missing", KINDS["missing"])]
    if isinstance(truth, bool):
        return [Finding("not_text", f"{truth} is not a text", str(truth))]
    if isinstance(truth, str | int | float):
        return list(_of_text(truth if isinstance(truth, str) else repr(truth), policy))
    if isinstance(truth, Sequence):
        several = list(cast("Sequence[Any]", truth))
        found = [finding for one in several for finding in lint_truth(one, policy)]
        return found if several else [Finding("missing", "an empty list")]
    return [Finding("not_text", f"a {type(truth).__name__}; {KINDS['not_text']}")]


def read_as(truth: object) -> str | None:
    """Return the scorer's reading of a text or number in plain notation; None for all else."""
    try:
        [text] = ground_truth_texts(truth if isinstance(truth, str | int | float) else None)
    except UnreadableGroundTruth:
        return None
    return str(read(text))


def _of_text(text: str, policy: Policy) -> Iterator[Finding]:
    if (several := _encoded_list(text)) is not None:
        yield Finding("encoded_list", KINDS["encoded_list"], several)
        return
    damaged: tuple[tuple[Kind, str], ...] = (
        ("lost_backslash", _with_backslashes(text)),
        ("html", html.unescape(text) if "&" in text else text),
    )
    for kind, whole in damaged:
        if whole != text:
            yield Finding(kind, KINDS[kind], whole if _is_read(whole) else None)
            return
    yield from _of_answer(text, policy)


def _of_answer(text: str, policy: Policy) -> Iterator[Finding]:
    try:
        [answer] = ground_truth_texts(text)
    except UnreadableGroundTruth as error:
        kind: Kind = "missing" if not text.strip() else "unreadable"
        yield Finding(kind, str(error), _repaired(text))
        return
    reading = read(answer)
    if reading.node is None:
        kind = "beyond_limits" if reading.undecided else "unreadable"
        yield Finding(kind, reading.reason, _repaired(text))
        yield from _of_form(answer)
        return
    doubts = [*_of_form(answer), *_of_tree(reading.node, reading)]
    yield from doubts or _of_worth(reading.node, policy)


def _of_form(answer: str) -> Iterator[Finding]:
    """Yield the findings that the text alone shows."""
    plain = answer.strip().strip("$").strip()
    if _TWO_NUMBERS.fullmatch(plain) and not _THOUSANDS.fullmatch(plain):
        yield Finding("list_or_decimal", KINDS["list_or_decimal"])
    if _PAIR_OR_THOUSANDS.fullmatch(plain.replace(" ", "")) and " " not in plain:
        yield Finding("list_or_thousands", KINDS["list_or_thousands"])
    if _APPROXIMATE.search(plain):
        yield Finding("approximation", KINDS["approximation"])
    if _FLOAT.fullmatch(plain):
        short = f"{float(plain):.12g}"
        if len(short) + 3 < len(plain):
            yield Finding("float_digits", KINDS["float_digits"], short)


def _of_tree(node: Node, reading: Reading) -> Iterator[Finding]:
    """Yield the findings that the parsed answer shows."""
    if node.op == "list" and node.value == "or":
        yield Finding("alternatives", f"read as all of {reading}")
    if len(words_of(phrase(node)).split()) >= PROSE_WORDS:
        yield Finding("prose", KINDS["prose"])
    if contains(node, frozenset(["quantity"])):
        yield Finding("unit", f"read with a unit: {reading}")
    if (words := _words_beside(node)) is not None:
        yield Finding("words", f"{words!r} is ignored")
    if has_unknown_part(node):
        yield Finding("unread_part", KINDS["unread_part"])
    elif _has_ellipsis(node):
        yield Finding("ellipsis", KINDS["ellipsis"])


def _of_worth(node: Node, policy: Policy) -> Iterator[Finding]:
    """Yield a finding if the answer cannot be shown to equal itself by value."""
    try:
        same_as_itself(node, policy, 0)
        unknown = any(not _has_worth(value) for value in _values_in(node))
    except (TooMuchWork, TooLarge) as limit:
        yield Finding("beyond_limits", str(limit))
    else:
        if unknown:
            yield Finding("itself_only", KINDS["itself_only"])


def _values_in(node: Node) -> Iterator[Node]:
    """Yield the largest expressions of an answer: the items of a list, the ends of an interval."""
    if node.op in VALUES:
        yield node
    else:
        for part in node.args:
            yield from _values_in(part)


def _has_worth(node: Node) -> bool:
    """Tell whether an expression can be shown to equal itself by value."""
    if node in (INFINITY, MINUS_INFINITY) or node.note == "field":
        return True
    refill()
    try:
        return same_value(node, node, 0)[0]
    except Unreadable:
        return False


def _words_beside(node: Node) -> str | None:
    pending = [node]
    while pending:
        part = pending.pop()
        if part.op == "labelled" and not phrase(part):
            return str(part.value)
        pending.extend(part.args)
    return None


def _has_ellipsis(node: Node) -> bool:
    pending = [node]
    while pending:
        part = pending.pop()
        if part.op == "name" and part.value == "…":
            return True
        pending.extend(part.args)
    return False


def _encoded_list(text: str) -> list[str] | None:
    """Return the items of a JSON list of texts or numbers encoded as a text, or None.

    `[1, 2]` may be a point or an interval; a list with quotes in it is neither.
    """
    if not (text.lstrip().startswith("[") and '"' in text):
        return None
    try:
        items: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not is_list(items) or not items:
        return None
    return [str(item) for item in items] if all(isinstance(i, str | int) for i in items) else None


def _with_backslashes(text: str) -> str:
    """Return `text` with the lost backslashes of its LaTeX commands restored."""
    text = _EATEN_COMMAND.sub(lambda found: _EATEN[found[0]], text)
    return _BARE_COMMAND.sub(lambda found: "\\" + found[0], text)


def _is_read(text: str) -> bool:
    try:
        [answer] = ground_truth_texts(text)
    except UnreadableGroundTruth:
        return False
    node = read(answer).node
    return node is not None and node.op != "text"


def _without_layout(text: str) -> str:
    """Return `text` without spacing commands and punctuation at its end."""
    while True:
        bare = text.rstrip(" \t\n.,;&")
        command = next((each for each in _LAYOUT if bare.endswith(each)), "")
        bare = bare.removesuffix(command)
        if bare == text:
            return bare
        text = bare


def _repaired(text: str) -> str | None:
    """Return a readable text that differs only in layout, or None."""
    if len(text) > 2_000:
        return None
    plain = text.strip()
    if _DOTTED_THOUSANDS.fullmatch(plain):
        return plain.replace(".", "")
    bare = _without_layout(plain)
    missing = bare.count("{") - bare.count("}")
    for repaired in (bare, bare + "}" * max(0, missing)):
        if repaired and repaired != text and _is_read(repaired):
            return repaired
    return None
