"""Single values against single values: numbers, expressions, quantities, words, choices."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.symbols import TURNING_WORDS
from touchstone_rewards.reward_server.scorers.math.grammar.units import make_unit
from touchstone_rewards.reward_server.scorers.math.grammar.words import (
    letters_of,
    same_words,
)
from touchstone_rewards.reward_server.scorers.math.numbers.rounding import rounds_to
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import APART, same_value
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.rules.constant_rules import renamed_constants
from touchstone_rewards.reward_server.scorers.math.rules.equation_rules import same_family
from touchstone_rewards.reward_server.scorers.math.tree import Node

# A sign on one side only that a policy sets aside: its op, the policy's key and value.
_SIGNS = (("percent", "percent", "either"), ("degree", "angles", "degrees_optional"))


def values(truth: Node, answer: Node, case: Case) -> bool:
    """Worth the same; or the same with a sign, a parameter's name or a rounding set aside."""
    equal, method = same_value(truth, answer, case.seed)
    if equal:
        return case.decided(method, True)
    for op, key, lenient in _SIGNS:
        if (truth.op == op) != (answer.op == op) and getattr(case.policy, key) == lenient:
            bare = [node.args[0] if node.op == op else node for node in (truth, answer)]
            if same_value(bare[0], bare[1], case.seed)[0]:
                return case.decided(f"a {op} sign set aside", True)
    if method == APART and same_family(truth, answer, case):
        return case.decided("another name for a whole number", True)
    if method == APART and renamed_constants(truth, answer, case):
        return case.decided("another name for a constant of integration", True)
    if rounds_to(truth, answer, case.policy.rounding):
        return case.decided("rounding", True)
    return case.decided(method, False)


def texts(truth: Node, answer: Node, case: Case) -> bool:
    if truth.op == "text" and answer.op == "text":
        return case.decided("words", same_words(truth.value, answer.value))
    text, other = (truth, answer) if truth.op == "text" else (answer, truth)
    letters = letters_of(other)
    return case.decided("letters", letters is not None and same_words(letters, text.value))


def choices(truth: Node, answer: Node, case: Case) -> bool:
    """A letter with its text against the letter, the text, or both."""
    if truth.op == "choice" and answer.op == "choice":
        return case.decided("choice letters", truth.value == answer.value)
    with_text, other = (truth, answer) if truth.op == "choice" else (answer, truth)
    if other.op == "name" and len(other.value) == 1:
        return case.decided("choice letter", with_text.value == other.value)
    if not with_text.args:
        return case.decided("choice letter", False)
    pair = (with_text.args[0], other) if truth.op == "choice" else (other, with_text.args[0])
    return case.same(pair[0], pair[1])


def labels(truth: Node, answer: Node, case: Case) -> bool:
    """Words beside a value are set aside, unless they turn it into something else."""
    for node in (truth, answer):
        if node.op == "labelled" and _turns(node.value):
            return case.decided("words that turn the value", truth == answer)
    bare = [node.args[0] if node.op == "labelled" else node for node in (truth, answer)]
    return case.same(bare[0], bare[1])


def _turns(words: str) -> bool:
    found = words.lower().split()
    return len(found) > 4 or any(word in TURNING_WORDS for word in found)


def quantities(truth: Node, answer: Node, case: Case) -> bool:
    """The same unit, one that converts, or none on one side, as the policy has it."""
    bare = [node.args[0] if node.op == "quantity" else node for node in (truth, answer)]
    if case.policy.units == "ignored":
        return case.same(bare[0], bare[1])
    units = [make_unit(node.value) if node.op == "quantity" else None for node in (truth, answer)]
    if truth.op != answer.op:
        if {"degree", "percent"} & {truth.op, answer.op}:
            return _unlike(case)
        if case.policy.units == "required" and truth.op == "quantity":
            return case.decided("a unit is missing", False)
        return case.same(bare[0], bare[1])
    if units[0] is None or units[1] is None:
        return case.same(bare[0], bare[1]) if truth.value == answer.value else _unlike(case)
    if not units[0].dimensions or not units[1].dimensions:
        return case.same(bare[0], bare[1])
    if units[0].dimensions != units[1].dimensions:
        return _unlike(case)
    ratio = units[1].factor / units[0].factor
    if ratio == 1:
        return case.same(bare[0], bare[1])
    return case.same(bare[0], Node("mul", (Node("num", value=ratio), bare[1])))


def _unlike(case: Case) -> bool:
    return case.decided("unlike units", False)
