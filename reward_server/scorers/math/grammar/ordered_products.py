"""Products that do not commute: of vectors, of sets, and of functions."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

# Capitals that name sets: lengths and widths are multiplied, A and B are not.
_SET_LETTERS = frozenset("ABCDEGHSTUVXYZ")
MAX_ORDERED = 16


def ordered_product(
    cur: Cursor, factors: list[Node], right: Node, starts: tuple[int, int]
) -> Node | None:
    r"""Return the `\times` of vectors or sets, which does not commute; None for a plain product.

    `starts`: the tokens at which the two sides begin.
    """
    left = factors[-1]
    bold = any(at in cur.plain and cur.kinds[at] in ("name", "const") for at in starts)
    if bold or _is_vector(left) or _is_vector(right):
        if left.op != "num" and right.op != "num":
            return ordered(left, right, "cross")
    elif len(factors) == 1 and _is_set(left) and _is_set(right):
        return ordered(left, right, "sets")
    return None


def ordered(left: Node, right: Node, kind: str) -> Node:
    """Return a product of two factors that do not commute.

    Raises:
        Unreadable: too many such products are nested to the left.
    """
    depth, inner = 0, left
    while inner.op == "ordered":
        depth, inner = depth + 1, inner.args[0]
    if depth > MAX_ORDERED:
        raise Unreadable(f"more than {MAX_ORDERED} non-commuting products")
    return Node("ordered", (left, right), kind)


def _is_vector(node: Node) -> bool:
    if node.op == "name":
        return node.value.startswith(("vec ", "hat "))
    if node.op == "ordered":
        return node.value == "cross"
    return node.op in ("add", "neg", "mul") and any(map(_is_vector, node.args))


def _is_set(node: Node) -> bool:
    if node.op == "name":
        return node.note == "field" or node.value in _SET_LETTERS
    return node.op in ("set", "bracket", "union") or (node.op, node.value) == ("ordered", "sets")
