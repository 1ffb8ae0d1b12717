"""Differentiate an expression tree by the elementary rules of calculus.

A derivative without a rule here is left unevaluated by the caller.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import spend
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

STEP_WORK = 4


def _num(number: int) -> Node:
    return Node("num", value=fmpq(number))


ZERO, ONE, TWO = _num(0), _num(1), _num(2)
_KNOWN_OPS = "num name const add mul neg div pow call group percent degree"
_KNOWN = frozenset(_KNOWN_OPS.split())


def derivative(node: Node, variable: str) -> Node:
    """Return the derivative of `node` with respect to `variable`; other names are constants.

    Raises:
        Unreadable: a part of it has no rule here.
        TooMuchWork: it is too large.
    """
    spend(STEP_WORK)
    if node.op == "name" and node.value == variable:
        return ONE
    if not _depends(node, variable):
        return ZERO
    rule = _RULES.get(node.op)
    if rule is None:
        raise Unreadable(f"the derivative of {node.op}")
    return rule(node, variable)


def _depends(node: Node, variable: str) -> bool:
    if node.op == "name":
        return node.value == variable
    if node.op not in _KNOWN:
        raise Unreadable(f"the derivative of {node.op}")
    return any(_depends(part, variable) for part in node.args)


def _times(*factors: Node) -> Node:
    if ZERO in factors:
        return ZERO
    kept = tuple(factor for factor in factors if factor != ONE)
    return kept[0] if len(kept) == 1 else Node("mul", kept) if kept else ONE


def _over(above: Node, below: Node) -> Node:
    return Node("div", (above, below))


def _add(node: Node, variable: str) -> Node:
    parts = [derivative(part, variable) for part in node.args]
    kept = tuple(part for part in parts if part != ZERO)
    return Node("add", kept) if len(kept) > 1 else kept[0] if kept else ZERO


def _mul(node: Node, variable: str) -> Node:
    spend(len(node.args) ** 2)
    terms = [
        _times(*node.args[:at], derivative(part, variable), *node.args[at + 1 :])
        for at, part in enumerate(node.args)
    ]
    return Node("add", tuple(terms))


def _neg(node: Node, variable: str) -> Node:
    return Node("neg", (derivative(node.args[0], variable),))


def _div(node: Node, variable: str) -> Node:
    above, below = node.args
    left = _times(derivative(above, variable), below)
    right = _times(above, derivative(below, variable))
    return _over(Node("add", (left, Node("neg", (right,)))), Node("pow", (below, TWO)))


def _pow(node: Node, variable: str) -> Node:
    base, exponent = node.args
    if not _depends(exponent, variable):
        lower = Node("add", (exponent, _num(-1)))
        return _times(exponent, Node("pow", (base, lower)), derivative(base, variable))
    log = Node("call", (base,), "ln")
    inner = Node("mul", (exponent, log))
    return _times(node, derivative(inner, variable))


def _scaled(node: Node, variable: str) -> Node:
    """Differentiate a percent sign, a degree sign or brackets, which act as a constant factor."""
    return Node(node.op, (derivative(node.args[0], variable),), node.value, node.note)


def _call(node: Node, variable: str) -> Node:
    if node.value == "root" and len(node.args) == 2:
        raised = Node("pow", (node.args[0], _over(ONE, node.args[1])))
        return _pow(raised, variable)
    if node.value == "log" and len(node.args) == 2:
        logs = [Node("call", (part,), "ln") for part in node.args]
        return derivative(_over(logs[0], logs[1]), variable)
    outer = _OUTER.get(node.value)
    if outer is None or len(node.args) != 1:
        raise Unreadable(f"the derivative of {node.value}")
    inner = node.args[0]
    return _times(outer(inner), derivative(inner, variable))


def _f(name: str, inner: Node) -> Node:
    return Node("call", (inner,), name)


def _square(node: Node) -> Node:
    return Node("pow", (node, TWO))


def _one_minus_square(inner: Node) -> Node:
    return Node("add", (ONE, Node("neg", (_square(inner),))))


def _one_plus_square(inner: Node) -> Node:
    return Node("add", (ONE, _square(inner)))


def _minus(node: Node) -> Node:
    return Node("neg", (node,))


def _root(node: Node) -> Node:
    return Node("call", (node, TWO), "root")


_OUTER: dict[str, Callable[[Node], Node]] = {
    "sin": lambda u: _f("cos", u),
    "cos": lambda u: _minus(_f("sin", u)),
    "tan": lambda u: _square(_f("sec", u)),
    "cot": lambda u: _minus(_square(_f("csc", u))),
    "sec": lambda u: _times(_f("sec", u), _f("tan", u)),
    "csc": lambda u: _minus(_times(_f("csc", u), _f("cot", u))),
    "sinh": lambda u: _f("cosh", u),
    "cosh": lambda u: _f("sinh", u),
    "tanh": lambda u: _square(_f("sech", u)),
    "arcsin": lambda u: _over(ONE, _root(_one_minus_square(u))),
    "arccos": lambda u: _minus(_over(ONE, _root(_one_minus_square(u)))),
    "arctan": lambda u: _over(ONE, _one_plus_square(u)),
    "exp": lambda u: _f("exp", u),
    "ln": lambda u: _over(ONE, u),
}

_RULES: dict[str, Callable[[Node, str], Node]] = {
    "add": _add,
    "mul": _mul,
    "neg": _neg,
    "div": _div,
    "pow": _pow,
    "call": _call,
    "group": _scaled,
    "percent": _scaled,
    "degree": _scaled,
}
