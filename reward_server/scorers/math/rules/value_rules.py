"""Compare single values: numbers, expressions, figures, words, choices."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.figures import SIGNS, same_name
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

# A sign that a policy ignores on one side: its op, the policy's key and value.
_SIGNS = (("percent", "percent", "either"), ("degree", "angles", "degrees_optional"))


def values(truth: Node, answer: Node, case: Case) -> bool:
    """Compare two expressions by value; if allowed, ignore a sign, a
    parameter's name or a rounding."""
    equal, method = same_value(truth, answer, case.seed)
    if equal:
        return case.decided(method, True)
    for op, key, lenient in _SIGNS:
        if (truth.op == op) != (answer.op == op) and getattr(case.policy, key) == lenient:
            bare = [node.args[0] if node.op == op else node for node in (truth, answer)]
            if same_value(bare[0], bare[1], case.seed)[0]:
                return case.decided(f"a {op} sign set aside", True)
    if truth.op != answer.op and _same_figure(truth, answer):
        return case.decided("the name of a figure", True)
    if method == APART and same_family(truth, answer, case):
        return case.decided("another name for a whole number", True)
    if method == APART and renamed_constants(truth, answer, case):
        return case.decided("another name for a constant of integration", True)
    if rounds_to(truth, answer, case.policy.rounding):
        return case.decided("rounding", True)
    return case.decided(method, False)


def _same_figure(truth: Node, answer: Node) -> bool:
    """Tell whether one is the name of a figure and the other its letters, parsed as a product."""
    name, product = (truth, answer) if truth.op == "name" else (answer, truth)
    if name.op != "name" or name.value[0] not in SIGNS or product.op != "mul":
        return False
    letters = [str(part.value) if part.op == "name" else "" for part in product.args]
    return all(map(str.isupper, letters)) and same_name(name.value, "".join(letters))


def texts(truth: Node, answer: Node, case: Case) -> bool:
    if truth.op == "text" and answer.op == "text":
        return case.decided("words", same_words(truth.value, answer.value))
    text, other = (truth, answer) if truth.op == "text" else (answer, truth)
    letters = letters_of(other)
    if other.op == "name" and other.value[0] in SIGNS:
        return case.decided("letters", same_name(other.value, text.value))
    return case.decided("letters", letters is not None and same_words(letters, text.value))


def choices(truth: Node, answer: Node, case: Case) -> bool:
    """Compare a letter with its text to the letter, the text, or both."""
    if truth.op == "choice" and answer.op == "choice":
        return case.decided("choice letters", truth.value == answer.value)
    with_text, other = (truth, answer) if truth.op == "choice" else (answer, truth)
    if other.op == "name" and len(other.value) == 1:
        return case.decided("choice letter", with_text.value == other.value)
    if not with_text.args:
        return case.decided("choice letter", False)
    pair = (with_text.args[0], other) if truth.op == "choice" else (other, with_text.args[0])
    return case.same(pair[0], pair[1])
