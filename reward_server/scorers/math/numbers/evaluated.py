"""Check that an answer is fully evaluated: `12+7` equals 19 but is not written as 19."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.tree import Node

_AROUND = frozenset(["quantity", "labelled", "assigned", "percent", "neg", "group"])
_COLLECTIONS = frozenset(["list", "set", "bracket"])


def evaluated(truth: Node, answer: Node) -> bool:
    """Tell whether the answer is a literal number if the ground truth is an integer.

    For collections of equal size, the answer needs as many literal numbers as the ground truth has
    integers. Other forms, such as an inequality for an interval, are not checked.

    Source: the grader of PRM800K, which accepts only an integer for an integer; here scientific
    notation counts as a literal number too.
    """
    truth, answer = _bare(truth), _bare(answer)
    if truth.op not in _COLLECTIONS:
        return not _is_integer(truth) or _is_written(answer)
    if answer.op not in _COLLECTIONS or len(answer.args) != len(truth.args):
        return True
    integers = sum(_is_integer(_bare(item)) for item in truth.args)
    return sum(_is_written(_bare(item)) for item in answer.args) >= integers


def _bare(node: Node) -> Node:
    """Return the node without names and units around it."""
    while node.op in _AROUND and node.args:
        node = node.args[0]
    return node


def _is_integer(node: Node) -> bool:
    return node.op == "num" and node.value.q == 1


def _is_written(node: Node) -> bool:
    """Tell whether a node is a number, alone, times a power of ten, or before a unit: 5000 m."""
    if node.op != "mul":
        return node.op == "num"
    first, *rest = node.args
    return first.op == "num" and (_is_power_of_ten(rest) or all(map(_is_letters, rest)))


def _is_letters(node: Node) -> bool:
    if node.op == "mul":
        return all(map(_is_letters, node.args))
    return node.op == "name" or (node.op == "pow" and node.args[0].op == "name")


def _is_power_of_ten(factors: list[Node]) -> bool:
    if len(factors) != 1 or factors[0].op != "pow":
        return False
    base, exponent = factors[0].args
    return base.op == "num" and base.value == 10 and _is_integer(exponent)
