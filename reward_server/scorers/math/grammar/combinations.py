"""Numbers of combinations in school notation: `C_{10}^{3}`, `A_5^2`, `{}_{10}P_3`."""

from __future__ import annotations

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.tree import Node


def combinations(node: Node, power: Node) -> Node | None:
    """Return `C_{10}^{3}` as a binomial and `A_5^2` as a falling
    factorial; None for other powers."""
    if node.op != "name" or power.op != "num" or node.value[:2] not in ("C_", "A_", "P_"):
        return None
    below = node.value[2:]
    if not below.isdigit() or len(below) > 6 or power.value.q != 1:
        return None
    of = Node("num", value=fmpq(int(below)))
    return choice_count(node.value[0], of, power) if 0 <= power.value <= of.value else None


def choice_count(kind: str, of: Node, chosen: Node) -> Node:
    """Return the number of combinations or, for `A` and `P`, of permutations."""
    ways = Node("call", (of, chosen), "binom")
    return ways if kind == "C" else Node("mul", (ways, Node("fact", (chosen,))))
