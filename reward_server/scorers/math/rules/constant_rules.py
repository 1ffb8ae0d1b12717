"""Compare constants of integration: `x^2 + C` is `x^2 + K`, and `C e^{2x}` is `A e^{2x}`.

A letter may be renamed only if it is common for such constants, occurs once, and is added to a term
with a variable or multiplies an exponential.
"""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.numbers.same_value import features, same_value
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.rules.equation_rules import replace
from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_CONSTANTS = 3
_ADDED = frozenset(["C", "c", "K", "C'", "const", "C_0", "c_0", "C_1", "c_1"])
_SUBSCRIPTED = frozenset(f"{letter}_{index}" for letter in "CcKA" for index in (1, 2, 3))
_FACTORS = _SUBSCRIPTED | frozenset("CcKkAB")


def _constants(node: Node) -> list[str] | None:
    """Return the constants of integration of an expression, in order; None
    if one occurs elsewhere too."""
    added = [term.value for term in node.args if node.op == "add" and term.value in _ADDED]
    factors = [name for name in _linear(node) if name in _FACTORS and name not in added]
    turning = _holds(node, _turns) and len(factors) > 1  # c sin B may be a side of a triangle
    if not (turning or _holds(node, _grows) or _SUBSCRIPTED.issuperset(factors)):
        factors = []
    found = added + factors
    if len(found) > MAX_CONSTANTS or len(set(found)) < len(found):
        return None
    return found if all(_count(node, name) == 1 for name in found) else None


def _linear(node: Node) -> list[str]:
    """Return the names in which the expression is linear, judged by its notation."""
    if node.op == "name":
        return [node.value]
    if node.op in ("add", "mul", "neg"):
        return [name for part in node.args for name in _linear(part)]
    return _linear(node.args[0]) if node.op == "div" else []


def _holds(node: Node, test: Callable[[Node], bool]) -> bool:
    return test(node) or any(_holds(part, test) for part in node.args)


def _grows(node: Node) -> bool:
    """Tell whether a node is a power with a variable exponent, such as `e^{2x}`."""
    if node.op == "call":
        return node.value == "exp" and bool(features(node).names)
    return (
        node.op == "pow" and bool(features(node.args[1]).names) and not features(node.args[0]).names
    )


def _turns(node: Node) -> bool:
    r"""Tell whether a node is a sine or cosine of a variable, such as `\cos 2x`."""
    return node.op == "call" and node.value in ("sin", "cos") and bool(features(node).names)


def _count(node: Node, name: str) -> int:
    return (node.op == "name" and node.value == name) + sum(_count(p, name) for p in node.args)


def renamed_constants(truth: Node, answer: Node, case: Case) -> bool:
    """Tell whether the two differ only in the names of their constants of integration."""
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
