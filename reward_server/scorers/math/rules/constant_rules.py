"""Constants of integration: `x^2 + C` is `x^2 + K`, and `C e^{2x}` is `A e^{2x}`.

Only a letter that such constants have, in a place that they have, once in the answer, may be
another one: added to something with a variable, or a factor before an exponential.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.numbers.same_value import features, same_value
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.rules.equation_rules import replace
from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_CONSTANTS = 3
_ADDED = frozenset(["C", "c", "K", "C'", "const", "C_0", "c_0", "C_1", "c_1"])
_FACTORS = frozenset(f"{letter}{index}" for letter in "CcKA" for index in ("", "_1", "_2", "_3"))
_FACTORS = _FACTORS | {"B"}


def _terms(node: Node) -> tuple[Node, ...]:
    return node.args if node.op == "add" else (node,)


def _constants(node: Node) -> list[str] | None:
    """The constants of integration of an expression, in order; None where one of them stands
    elsewhere as well."""
    found: list[str] = []
    turning: list[str] = []
    terms = _terms(node)
    for term in terms:
        bare = term.args[0] if term.op == "neg" else term
        if bare.op == "name" and bare.value in _ADDED and len(terms) > 1:
            found.append(bare.value)
        elif bare.op == "mul" and any(part.op == "pow" and _varies(part) for part in bare.args):
            found += _factors(bare)
        elif bare.op == "mul" and any(_turns(part) for part in bare.args):
            turning += _factors(bare)
    if len(turning) > 1:  # A cos x + B sin x, where c sin B may be a side of a triangle
        found += turning
    if len(found) > MAX_CONSTANTS or len(set(found)) < len(found):
        return None
    return found if all(_count(node, name) == 1 for name in found) else None


def _varies(power: Node) -> bool:
    """Is it `e^{2x}`, a power with a variable in its exponent?"""
    return bool(features(power.args[1]).names) and not features(power.args[0]).names


def _turns(part: Node) -> bool:
    """Is it `\\cos 2x`, of a variable?"""
    return part.op == "call" and part.value in ("sin", "cos") and bool(features(part).names)


def _factors(product: Node) -> list[str]:
    return [part.value for part in product.args if part.op == "name" and part.value in _FACTORS]


def _count(node: Node, name: str) -> int:
    return (node.op == "name" and node.value == name) + sum(_count(p, name) for p in node.args)


def renamed_constants(truth: Node, answer: Node, case: Case) -> bool:
    """Are the two the same but for what their constants of integration are called?"""
    own, other = _constants(truth), _constants(answer)
    if not own or not other or len(own) != len(other) or own == other:
        return False
    variables = [features(node).names for node in (truth, answer)]
    shared = variables[0] - set(own)
    if not shared or shared != variables[1] - set(other):
        return False
    for order in (other, other[::-1]):
        names = {b: Node("name", value=f"constant {a}") for a, b in zip(own, order, strict=True)}
        apart = {a: Node("name", value=f"constant {a}") for a in own}
        if same_value(replace(truth, apart), replace(answer, names), case.seed)[0]:
            return True
    return False
