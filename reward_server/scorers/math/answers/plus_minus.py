"""Expand ± and ∓ into the expressions that they abbreviate."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable, contains, negative

MAX_SIGNS = 4
_SIGNS = frozenset(["pm", "mp"])


def has_signs(node: Node) -> bool:
    return contains(node, _SIGNS)


def _count_signs(node: Node) -> int:
    return (node.op in ("pm", "mp")) + sum(map(_count_signs, node.args))


def _with_signs(node: Node, signs: list[bool]) -> Node:
    """Replace the ± signs of `node` by `signs`; ∓ takes the opposite of the preceding sign."""
    if node.op in ("pm", "mp"):
        before = [_with_signs(part, signs) for part in node.args[:-1]]
        positive = signs.pop()
        last = _with_signs(node.args[-1], signs)
        last = last if positive else negative(last)
        return Node("add", (*before, last)) if before else last
    if not node.args:
        return node
    return Node(
        node.op, tuple(_with_signs(part, signs) for part in node.args), node.value, node.note
    )


def sign_choices(node: Node) -> list[Node]:
    """Return one expression for each choice of the signs in `node`, the upper signs first."""
    count = _count_signs(node)
    if count > MAX_SIGNS:
        raise Unreadable(f"more than {MAX_SIGNS} ± signs")
    paired = contains(node, frozenset(["mp"])) and contains(node, frozenset(["pm"]))
    choices: list[Node] = []
    for number in range(2 if paired else 1 << count):
        if paired:
            choices.append(_paired(node, number == 0))
        else:
            choices.append(_with_signs(node, [not number >> bit & 1 for bit in range(count)]))
    return choices


def _paired(node: Node, upper: bool) -> Node:
    """Return all upper and all lower signs, for ± and ∓ that occur together."""
    parts = tuple(_paired(part, upper) for part in node.args)
    if node.op not in ("pm", "mp"):
        return Node(node.op, parts, node.value, node.note) if parts else node
    last = parts[-1] if (node.op == "pm") == upper else negative(parts[-1])
    return Node("add", (*parts[:-1], last)) if len(parts) > 1 else last
