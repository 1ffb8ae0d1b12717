"""Print a tree in short plain notation, for explanations only, never for comparing."""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_DEPTH = 8

_Spelling = Callable[[Node, list[str]], str]


def spell(node: Node, depth: int = 0) -> str:
    """Return `node` in plain notation, truncated if nested deeply."""
    if depth > MAX_DEPTH:
        return "…"
    parts = [spell(part, depth + 1) for part in node.args]
    if (rule := _SPELLINGS.get(node.op)) is not None:
        return rule(node, parts)
    shown = "" if node.value is None else f"[{node.value}]"
    return f"{node.op}{shown}({', '.join(parts)})"


def _value(node: Node, parts: list[str]) -> str:
    return str(node.value)


def _call(node: Node, parts: list[str]) -> str:
    return f"{node.value}({', '.join(parts)})"


def _bracketed(node: Node, parts: list[str]) -> str:
    return node.value[0] + ", ".join(parts) + node.value[1]


def _quantity(node: Node, parts: list[str]) -> str:
    powers = (word if power == 1 else f"{word}^{power}" for word, power in node.value)
    return f"{parts[0]} {' '.join(powers)}"


_SPELLINGS: dict[str, _Spelling] = {
    "num": _value,
    "name": _value,
    "const": _value,
    "text": _value,
    "add": lambda node, parts: f"({' + '.join(parts)})",
    "mul": lambda node, parts: "*".join(parts),
    "neg": lambda node, parts: f"-{parts[0]}",
    "div": lambda node, parts: f"({parts[0]}/{parts[1]})",
    "pow": lambda node, parts: f"{parts[0]}^({parts[1]})",
    "call": _call,
    "opaque": _call,
    "list": lambda node, parts: ", ".join(parts),
    "set": lambda node, parts: f"{{{', '.join(parts)}}}",
    "bracket": _bracketed,
    "piece": _bracketed,
    "region": lambda node, parts: " ∪ ".join(parts) or "∅",
    "quantity": _quantity,
    "assigned": lambda node, parts: f"{node.value} = {parts[0]}",
}
