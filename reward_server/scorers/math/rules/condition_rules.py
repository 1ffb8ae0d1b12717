r"""Compare values under conditions: `2n + 1, n \ge 0`,
`8p for all odd primes p`, `cx, c constant`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from touchstone_rewards.reward_server.scorers.math.answers.conditions import is_domain, is_natural
from touchstone_rewards.reward_server.scorers.math.answers.relations import put
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    WHOLE_LETTERS,
    features,
)
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.tree import Node

MAX_FREE = 3
_CONSTANTS = frozenset("abcdkmtsrCKAB") | {"alpha", "beta", "lambda", "mu"}


def free_letters(truth: Node, answer: Node, case: Case) -> bool:
    """Compare answers with arbitrary constants: `cx, c in R` and `kx, k in R`.

    Such letters may have other names, and their declaration may be omitted.
    """
    bare = [node.args[0] if node.op == "free" else node for node in (truth, answer)]
    if case.quietly(*bare):
        return True
    letters = [node.value if node.op == "free" else () for node in (truth, answer)]
    for side in (0, 1):
        other = (truth, answer)[1 - side]
        if not letters[side] and len(letters[1 - side]) == 1 and other.note:
            new = features(bare[side]).names - features(bare[1 - side]).names
            letters[side] = tuple(new) if new <= _CONSTANTS else ()
    if len(letters[0]) != len(letters[1]) or not 0 < len(letters[0]) <= MAX_FREE:
        return case.same(*bare)
    for order in permutations(letters[1]):
        renamed = bare[1]
        for number, (own, other) in enumerate(zip(letters[0], order, strict=True)):
            name = Node("name", value=f"free {number}")
            renamed = put(renamed, other, name)
            bare[0] = put(bare[0], own, name)
        if case.quietly(bare[0], renamed):
            return True
    return case.decided("other letters", False)


def conditions(truth: Node, answer: Node, case: Case) -> bool:
    """Compare both the values and their conditions.

    An answer may omit a bound on the ground truth's letters, and may add one that only states where
    an index starts.
    """
    values = [node.args[0] if node.op == "conditioned" else node for node in (truth, answer)]
    demands: list[Sequence[Node]] = [
        node.args[1:] if node.op == "conditioned" else () for node in (truth, answer)
    ]
    if demands[0] and demands[1]:
        values[1], demands[1] = _in_letters_of(demands[0], values[1], demands[1])
        if not _same_demands(demands[0], demands[1], case):
            return case.decided("unlike conditions", False)
    elif demands[0] and (
        values[1].op == "family" or not all(is_domain(demand, values[0]) for demand in demands[0])
    ):
        return case.decided("a condition is missing", False)
    elif demands[1] and not all(is_natural(demand, values[1]) for demand in demands[1]):
        return case.decided("a condition that the ground truth lacks", False)
    return case.same(values[0], values[1])


def _in_letters_of(
    own: Sequence[Node], value: Node, demands: Sequence[Node]
) -> tuple[Node, Sequence[Node]]:
    """Return value and conditions renamed to the other side's letter: `p prime`, `q prime`."""
    if len(own) != 1 or len(demands) != 1 or not own[0].op == demands[0].op == "property":
        return value, demands
    (words, old, negated), new = demands[0].value, own[0].value[1]
    if len(old) != 1 or len(new) != 1 or old == new or new[0] in features(value).names:
        return value, demands
    renamed = put(value, old[0], Node("name", value=new[0]))
    return renamed, (Node("property", (), (words, new, negated)),)


def _same_demands(left: Sequence[Node], right: Sequence[Node], case: Case) -> bool:
    if len(left) != len(right):
        return False
    rest = list(right)
    for demand in left:
        at = next((i for i, other in enumerate(rest) if _same_demand(demand, other, case)), None)
        if at is None:
            return False
        del rest[at]
    return True


def _same_demand(left: Node, right: Node, case: Case) -> bool:
    if left.op == right.op == "property":
        return left.value == right.value
    return case.quietly(_from_whole(left), _from_whole(right))


def _from_whole(node: Node) -> Node:
    r"""Return `n > 0` as `n \ge 1` if n is a letter for whole numbers."""
    if node.op != "region" or node.value not in WHOLE_LETTERS or len(node.args) != 1:
        return node
    part = node.args[0]
    low = part.args[0]
    if part.value[0] != "(" or low.op != "num" or low.value.q != 1:
        return node
    above = Node("num", value=low.value + 1)
    piece = Node("piece", (above, part.args[1]), "[" + part.value[1])
    return Node("region", (piece,), node.value)
