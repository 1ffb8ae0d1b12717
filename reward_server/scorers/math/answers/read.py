"""Read the text of an answer into the answer that it states, or the reason why it states none.

Plain numbers take a fast path; `forms` recognizes answers by their text; `parse` and `answer_shape`
handle the rest. A text that is not mathematics but has words is an answer in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.answers.answer_shape import shape
from touchstone_rewards.reward_server.scorers.math.answers.conditions import (
    stated_with_condition,
)
from touchstone_rewards.reward_server.scorers.math.answers.forms import stated, without_lead
from touchstone_rewards.reward_server.scorers.math.answers.print_tree import spell
from touchstone_rewards.reward_server.scorers.math.answers.properties import of_a_kind
from touchstone_rewards.reward_server.scorers.math.answers.sequences import in_parts
from touchstone_rewards.reward_server.scorers.math.answers.trimmings import (
    plain_looks,
    same_thing_twice,
    trimmed,
)
from touchstone_rewards.reward_server.scorers.math.answers.whole_numbers import divides, in_words
from touchstone_rewards.reward_server.scorers.math.grammar.atoms import number
from touchstone_rewards.reward_server.scorers.math.grammar.normalize import (
    single_backslashes,
    to_ascii,
    without_markup,
)
from touchstone_rewards.reward_server.scorers.math.grammar.parse import parse
from touchstone_rewards.reward_server.scorers.math.grammar.tokens import MAX_CHARS
from touchstone_rewards.reward_server.scorers.math.grammar.words import is_wordy
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import same_value
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import TooMuchWork, refill
from touchstone_rewards.reward_server.scorers.math.tree import Node, TooLarge, Unreadable, negative

Beside = Callable[[str], Node | None]
_PLAIN_NUMBER = re.compile(
    r"\s*+\$?\s*+(-?)\s*+([0-9]{1,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30})\.?\s*+\$?\s*+"
)
_WRAPPING = re.compile(
    r"\\(?:boxed|fbox)\s*\{(.+)\}|\*\*(.+)\*\*|\\\((.+)\\\)|\\\[(.+)\\\]", re.DOTALL
)
MAX_WRAPPINGS = 8
REMEMBERED_CHARS = 200  # longer ones would fill the memory
_TRAILING = " \t\n.;,。"
_NOTHING = frozenset(["nan", "none", "null", "n/a", "inf", "-inf"])


class Reading(Struct):
    """`node` is the stated answer, or None with the `reason`.

    `undecided`: the reader reached a limit of length, depth or work and cannot tell.
    """

    text: str
    node: Node | None
    reason: str = ""
    undecided: bool = False

    def __str__(self) -> str:
        return self.reason if self.node is None else spell(self.node)


def read(text: str) -> Reading:
    """Return the answer that `text` states. Never raises: a failure is a Reading with its reason.

    Short texts are cached: the samples of a group share a ground truth and have few answers.
    """
    return remembered(text) if len(text) <= REMEMBERED_CHARS else _read_once(text)


def _read_once(text: str) -> Reading:
    plain = _PLAIN_NUMBER.fullmatch(text)
    if plain:
        node = number(plain[2])
        return Reading(text, negative(node) if plain[1] else node)
    refill()
    try:
        return _read(text, _beside)
    except (TooLarge, TooMuchWork) as limit:
        return Reading(text, None, str(limit), True)
    except RecursionError:  # the caller's own stack was nearly full
        return Reading(text, None, "nested too deeply", True)
    except Unreadable as unreadable:
        return Reading(text, None, str(unreadable))


remembered = lru_cache(maxsize=4096)(_read_once)


def _read(text: str, beside: Beside) -> Reading:
    """Read `text`; `beside` reads the text beside the letter of a choice."""
    if len(text) > MAX_CHARS:
        text = text.strip()
        if len(text) > MAX_CHARS:
            raise TooLarge(f"{len(text)} characters; at most {MAX_CHARS} are read")
    plain = trimmed(to_ascii(without_markup(text)))
    if "\\\\" in plain:
        plain = trimmed(single_backslashes(plain))
    for _ in range(MAX_WRAPPINGS):
        if plain[:1] not in ("\\", "*") or not (wrapped := _WRAPPING.fullmatch(plain)):
            break
        plain = next(inner for inner in wrapped.groups() if inner is not None).strip()
    if not plain.endswith(("\\,", "\\;", "..")):
        plain = plain.rstrip(_TRAILING)
    if not plain or plain.lower() in _NOTHING:
        raise Unreadable(f"{plain!r} is not an answer")
    plain = plain_looks(without_lead(plain) or plain)
    if (spellings := same_thing_twice(plain)) is not None:
        return Reading(text, _one_value(spellings, beside))
    try:
        return Reading(text, _state(plain, beside))
    except Unreadable:
        if is_wordy(plain):
            return Reading(text, Node("text", value=plain))
        raise


def _state(plain: str, beside: Beside) -> Node:
    """Read `plain` by its form, with a condition, in words, or else as mathematics.

    Raises:
        Unreadable: it states no answer.
    """
    one = partial(_one_answer, beside=beside)
    return in_parts(plain, one) or one(plain)


def _one_answer(plain: str, beside: Beside) -> Node:
    found = _without_condition(plain, beside)
    found = found or stated_with_condition(plain, partial(_part, beside=beside))
    return found or _mathematics(plain)


def _part(plain: str, beside: Beside) -> Node:
    return _without_condition(plain, beside) or _mathematics(plain)


def _without_condition(plain: str, beside: Beside) -> Node | None:
    """Read `plain` by its form or in words, or return None.

    Raises:
        Unreadable: the text is empty.
    """
    if not plain:
        raise Unreadable("nothing to read")
    if (found := stated(plain, beside)) is not None:
        return found
    if " " not in plain and "\\text" not in plain:
        return divides(plain)
    return in_words(plain, _mathematics) or divides(plain) or of_a_kind(plain)


def _mathematics(plain: str) -> Node:
    return shape(parse(plain))


def _one_value(spellings: list[str], beside: Beside) -> Node:
    """Return the value shared by all spellings.

    Raises:
        Unreadable: they differ.
    """
    nodes = [_state(spelling, beside) for spelling in spellings]
    for node in nodes[1:]:
        if node != nodes[0] and not same_value(nodes[0], node, 1)[0]:
            raise Unreadable("two values in one answer")
    return nodes[0]


def _beside(text: str) -> Node | None:
    """Read the text beside a choice's letter; a choice nested there keeps only its letter."""
    try:
        return _read(text, lambda _: None).node
    except Unreadable:
        return None
