"""Unify spellings of a derivative: dy/dx, y' and ẏ; ∂u/∂x and u_x.

Two trees with different spellings are rewritten in the same one; None if that is impossible. A
prime does not name the variable, so it stands for dy/dx only if there is no other variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from touchstone_rewards.reward_server.scorers.math.grammar.derivatives import (
    PARTIAL,
    TOTAL,
    Differential,
)
from touchstone_rewards.reward_server.scorers.math.tree import Node

_DOTS = {"dot ": "'", "ddot ": "''"}
_MARKS = ("'", "_", "\\prime", "dot", "^{(")


def may_differ(left: str, right: str) -> bool:
    """Tell whether one text uses Leibniz notation and the other primes, dots or indices.

    This cheap test fails for most pairs.
    """
    return any(
        ("d" in one or "partial" in one or "∂" in one)
        and ("frac" in one or "/" in one)
        and any(mark in other for mark in _MARKS)
        for one, other in ((left, right), (right, left))
    )


def respelled(truth: Node, answer: Node) -> tuple[Node, Node] | None:
    """Return the two trees with their derivatives spelled alike, or None."""
    found = [list(_differentials(node)) for node in (truth, answer)]
    if bool(found[0]) == bool(found[1]):
        return None
    notes = found[0] or found[1]
    signs, by = {note.sign for note in notes}, {name for note in notes for name in note.by}
    if signs == {PARTIAL}:
        return _renamed(truth, _indexed), _renamed(answer, _indexed)
    if signs != {TOTAL} or len(by) != 1:
        return None
    variable = by.pop()
    return (
        _renamed(truth, lambda node: _primed(node, variable)),
        _renamed(answer, lambda node: _primed(node, variable)),
    )


def _differentials(node: Node) -> Iterator[Differential]:
    pending = [node]
    while pending:
        part = pending.pop()
        note = part.note
        if isinstance(note, Differential):
            yield note
        elif isinstance(note, Node):  # assigned values
            pending.append(note)
        pending.extend(part.args)


def _renamed(node: Node, rule: Callable[[Node], Node]) -> Node:
    """Return the tree with every name replaced by `rule`, assigned names included."""
    if node.op == "assigned" and node.note is not None:
        note = rule(node.note)
        name = note.value if note != node.note else node.value
        return Node("assigned", (_renamed(node.args[0], rule),), name, note)
    if node.op in ("name", "opaque"):
        return rule(node)
    if not node.args:
        return node
    return Node(node.op, tuple(_renamed(p, rule) for p in node.args), node.value, node.note)


def _primed(node: Node, variable: str) -> Node:
    if isinstance(node.note, Differential):
        return Node("name", value=node.note.of + "'" * len(node.note.by))
    if node.op == "opaque":
        own = len(node.args) == 1 and node.args[0] == Node("name", value=variable)
        return Node("name", value=node.value) if own and node.value.endswith("'") else node
    for dot, prime in _DOTS.items():
        if variable == "t" and node.value.startswith(dot):
            return Node("name", value=node.value.removeprefix(dot) + prime)
    return node


def _indexed(node: Node) -> Node:
    """Return ∂^2u/∂x∂y as u_xy; the order of the indices does not matter."""
    if isinstance(node.note, Differential):
        return Node("name", value=f"{node.note.of}_{''.join(sorted(node.note.by))}")
    base, _, index = node.value.partition("_")
    if node.op == "name" and index.isalpha() and len(index) <= 3:
        return Node("name", value=f"{base}_{''.join(sorted(index))}")
    return node
