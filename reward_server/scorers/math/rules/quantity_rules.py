"""Compare values with units or with words beside them."""

from __future__ import annotations

import re

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar.symbols import TURNING_WORDS
from touchstone_rewards.reward_server.scorers.math.grammar.units import Unit, make_units
from touchstone_rewards.reward_server.scorers.math.grammar.words import same_words
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import features, same_value
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.rules.spelled_units import spelled_quantities
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node

# Words without information about the counted things, allowed beside a unit on the other side.
_FILLER_WORDS = (
    "in total altogether all each long tall wide high deep thick away apart left old of the a on "
    "together remaining per exactly"
)
_FILLERS = frozenset(_FILLER_WORDS.split())
_CHOICE_WORDS = frozenset(["选项", "選項"])
_SYMBOL_CHARS = 3
RADIAN = Unit(fmpq(1), (("angle", 1),))
_INNER_CAPITAL = re.compile(r"\w[A-Z]")


def labels(truth: Node, answer: Node, case: Case) -> bool:
    """Compare values while ignoring the words beside them, unless these change the meaning."""
    labelled = [node for node in (truth, answer) if node.op == "labelled"]
    if any(map(_is_phrase, labelled)):
        return case.decided("words beside a letter", same_words(phrase(truth), phrase(answer)))
    if any(_turns(node.value) for node in labelled):
        return case.decided("words that change the value", truth == answer)
    bare = [node.args[0] if node.op == "labelled" else node for node in (truth, answer)]
    behind = [node.value for node in labelled if node.note == "behind"]
    if case.policy.units != "ignored" and behind:
        if len(behind) == 2 and not _same_things(behind[0], behind[1]):
            return _unlike(case)
        if len(behind) == 1 and any(map(_measured, bare)) and not _is_filler(behind[0]):
            return _unlike(case)
    return case.same(bare[0], bare[1])


def _is_phrase(node: Node) -> bool:
    """Tell whether a letter is part of the words: in
    `A polygenic risk score`, not in `C选项` or `n个`."""
    counts = not node.value.isascii() and (len(node.value) == 1 or node.value in _CHOICE_WORDS)
    return node.args[0].op == "name" and not counts


def phrase(node: Node) -> str:
    """Return the words of an answer in words, or "" for any other answer."""
    if node.op == "labelled" and _is_phrase(node):
        letter = node.args[0].value
        return f"{letter} {node.value}" if node.note == "behind" else f"{node.value} {letter}"
    return str(node.value) if node.op == "text" else ""


def _turns(words: str) -> bool:
    found = words.lower().split()
    return len(found) > 4 or any(word in TURNING_WORDS for word in found)


def _same_things(left: str, right: str) -> bool:
    """Tell whether the words name the same things.

    One side may be more specific: `red balls` are `balls`. Counting words of other languages are
    ignored.
    """
    if not (left.isascii() and right.isascii()):
        return True
    one, other = (
        [_singular(word) for word in words.split() if word.lower() not in _FILLERS]
        for words in (left, right)
    )
    if not one or not other:
        return True
    return one[-1] == other[-1] or set(one) <= set(other) or set(other) <= set(one)


def _singular(word: str) -> str:
    """Return a noun in lower case without its plural s; a symbol such as `dBm` unchanged."""
    if len(word) <= _SYMBOL_CHARS or _INNER_CAPITAL.search(word):
        return word
    lower = word.lower()
    return "person" if lower == "people" else lower.removesuffix("s")


def _measured(node: Node) -> bool:
    """Tell whether a node has a unit of measure or money."""
    return node.op == "quantity" and any(unit.dimensions for unit in make_units(node.value))


def _is_filler(words: str) -> bool:
    return not words.isascii() or set(words.lower().split()) <= _FILLERS


def quantities(truth: Node, answer: Node, case: Case) -> bool:
    """Compare quantities with equal or convertible units, or a missing
    unit if the policy allows it."""
    bare = [node.args[0] if node.op == "quantity" else node for node in (truth, answer)]
    if case.policy.units == "ignored":
        return case.same(bare[0], bare[1])
    for one in _readings(truth):
        for other in _readings(answer):
            if _same_quantity(one, other, case):
                return True
    if truth.op == answer.op:
        return False
    if {"degree", "percent"} & {truth.op, answer.op}:
        return _same_angle(truth, answer, case)
    if case.policy.units == "required" and truth.op == "quantity":
        return case.decided("a unit is missing", False)
    return case.same(bare[0], bare[1])


def _readings(node: Node) -> list[Node]:
    """Return all quantities that a node can mean; letters such as `m` may spell a unit."""
    found = [node] if node.op == "quantity" else []
    if node.op == "quantity" or node.op in VALUES:
        return found + spelled_quantities(node) if features(node).names else found
    return found


def _same_angle(truth: Node, answer: Node, case: Case) -> bool:
    """Compare an angle in radians with one in degrees; other units do not
    match degree or percent signs."""
    quantity, other = (truth, answer) if truth.op == "quantity" else (answer, truth)
    units = make_units(quantity.value)
    if other.op != "degree" or len(units) != 1 or units[0].dimensions != (("angle", 1),):
        return _unlike(case)
    equal, method = same_value(_converted(quantity.args[0], units[0], RADIAN), other, case.seed)
    return case.decided(method, equal)


def _same_quantity(truth: Node, answer: Node, case: Case) -> bool:
    """Compare two quantities in one unit, under any meaning of their words."""
    left, right = make_units(truth.value), make_units(answer.value)
    if not left or not right:
        alike = truth.value == answer.value
        return case.same(truth.args[0], answer.args[0]) if alike else _unlike(case)
    pairs = [(one, other) for one in left for other in right if one.dimensions == other.dimensions]
    for one in (*left, *right):
        if not one.dimensions:  # an unspecified unit
            return case.same(truth.args[0], answer.args[0])
    for one, other in pairs:
        if case.same(truth.args[0], _converted(answer.args[0], other, one)):
            return True
    return False if pairs else _unlike(case)


def _converted(value: Node, own: Unit, wanted: Unit) -> Node:
    """Return the value of a quantity in another unit of its dimension."""
    ratio = own.factor / wanted.factor
    shift = own.offset * ratio - wanted.offset
    scaled = value if ratio == 1 else Node("mul", (Node("num", value=ratio), value))
    return scaled if shift == fmpq(0) else Node("add", (scaled, Node("num", value=shift)))


def _unlike(case: Case) -> bool:
    return case.decided("different units", False)
