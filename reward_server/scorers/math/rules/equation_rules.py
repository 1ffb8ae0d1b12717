"""Compare answers with a name or relation: assignments, equations, inequalities."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.answers.relations import each_named
from touchstone_rewards.reward_server.scorers.math.grammar.figures import same_name
from touchstone_rewards.reward_server.scorers.math.numbers.regions import INFINITY, MINUS_INFINITY
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    WHOLE_LETTERS,
    constant_ratio,
    features,
    is_positive,
    same_value,
)
from touchstone_rewards.reward_server.scorers.math.rules.collection_rules import (
    in_order,
    names_of,
    regions_of,
)
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.rules.family_rules import renamed_family
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node


def same_family(truth: Node, answer: Node, case: Case) -> bool:
    r"""Compare values in another whole-number letter: `2k\pi` and `2n\pi`, `3k + 1` and `3m + 1`.

    This applies to angles and remainders only.
    """
    found = [features(node) for node in (truth, answer)]
    names = [one.names for one in found]
    if any(len(n) != 1 or not n <= WHOLE_LETTERS for n in names) or names[0] == names[1]:
        return False
    if not (found[0].angles and found[1].angles) and not _is_remainder(truth):
        return False
    other = Node("name", value=next(iter(names[0])))
    return same_value(truth, replace(answer, {next(iter(names[1])): other}), case.seed)[0]


def _is_remainder(node: Node) -> bool:
    """Tell whether a node is like `3k + 1`: a whole multiple, 2 or larger, plus a whole number."""
    if node.op != "add" or len(node.args) != 2:
        return False
    multiple, rest = sorted(node.args, key=lambda part: part.op == "num")
    if multiple.op != "mul" or len(multiple.args) != 2 or rest.op != "num" or rest.value.q != 1:
        return False
    step, letter = multiple.args
    return step.op == "num" and step.value.q == 1 and step.value > 1 and letter.op == "name"


def assignments(truth: Node, answer: Node, case: Case) -> bool:
    """Compare a named value with a value, ignoring the name; if both have
    names, they must be equal."""
    if truth.op == "assigned" and answer.op == "assigned":
        if _other_places(truth.note, answer.note):
            return case.decided("a function at another argument", False)
        alike = same_name(truth.value, answer.value) or _renamed(truth, answer)
        if alike and case.same(truth.args[0], _rename(truth, answer)):
            return True
        if alike and renamed_family(truth, answer, case):
            return case.decided("another name for a whole number", True)
        return equations(truth, answer, case)
    if truth.op in ("equation", "inequality") or answer.op in ("equation", "inequality"):
        return equations(truth, answer, case)
    if "region" in (truth.op, answer.op):
        return regions_of(truth, answer, case)
    for one, other in ((truth, answer), (answer, truth)):
        if other.op == "list" and names_of(other.args) and (spread := _spread(one)):
            pair = (spread, answer) if one is truth else (truth, spread)
            return case.same(pair[0], pair[1])
    bare = [node.args[0] if node.op == "assigned" else node for node in (truth, answer)]
    return case.same(bare[0], bare[1])


def _spread(node: Node) -> Node | None:
    """Return `(x, y) = (2, 3)` as `x = 2, y = 3`, and `x = 2, 3` as `x = 2, x = 3`."""
    if node.op != "assigned" or node.args[0].op not in ("list", "bracket"):
        return None
    values, names = node.args[0].args, str(node.value).split(",")
    if node.args[0].op == "list":
        names *= len(values)
    if len(names) != len(values):
        return None
    items = [Node("assigned", (value,), name) for name, value in zip(names, values, strict=True)]
    return Node("list", tuple(items), ",")


def _other_places(left: Node | None, right: Node | None) -> bool:
    """Tell whether these are values of a function at different numbers: f(1) and f(2)."""
    if left is None or right is None or left.op != "opaque" or right.op != "opaque":
        return False
    pairs = zip(left.args, right.args, strict=False)
    return any(a.op == b.op == "num" and a.value != b.value for a, b in pairs)


def _renamed(truth: Node, answer: Node) -> bool:
    """Tell whether these are the same function with other argument
    names: f(x) = x² and f(t) = t²."""
    left, right = truth.note, answer.note
    return bool(left and right) and left.op == right.op == "opaque" and left.value == right.value


def _rename(truth: Node, answer: Node) -> Node:
    left, right = truth.note, answer.note
    value = answer.args[0]
    if left is None or right is None or left.op != "opaque" or right.op != "opaque":
        return value
    names: dict[str, Node] = {}
    for own, other in zip(left.args, right.args, strict=False):
        if own.op == other.op == "name" and own != other:
            names[other.value] = own
            names.setdefault(own.value, Node("name", value=f"{own.value} of the other"))
    return replace(value, names) if names else value


def replace(node: Node, names: dict[str, Node]) -> Node:
    if node.op == "name":
        return names.get(node.value, node)
    if not node.args:
        return node
    return Node(node.op, tuple(replace(part, names) for part in node.args), node.value, node.note)


def _difference(node: Node) -> Node | None:
    """Return left side minus right side of an equation or inequality, or None."""
    if node.op in ("equation", "inequality"):
        left, right = node.args
    elif node.op == "assigned" and node.note is not None and node.args[0].op in VALUES:
        left, right = node.note, node.args[0]
    else:
        return None
    if left.op not in VALUES or right.op not in VALUES:
        return None
    return Node("add", (left, Node("neg", (right,))))


def _as_inequality(node: Node) -> Node:
    """Return a half line of a named variable as an inequality."""
    if node.op != "region" or not node.value or len(node.args) != 1:
        return node
    (low, high), brackets = node.args[0].args, node.args[0].value
    name = Node("name", value=node.value)
    if low == MINUS_INFINITY and high != INFINITY:
        return Node("inequality", (name, high), "<=" if brackets[1] == "]" else "<")
    if high == INFINITY and low != MINUS_INFINITY:
        return Node("inequality", (low, name), "<=" if brackets[0] == "[" else "<")
    return node


def equations(truth: Node, answer: Node, case: Case) -> bool:
    """Compare equations up to a constant factor, inequalities up to a positive one."""
    truth, answer = _as_inequality(truth), _as_inequality(answer)
    if (truth.op == "inequality") != (answer.op == "inequality"):
        return case.decided("an equation against an inequality", False)
    left, right = _difference(truth), _difference(answer)
    if left is None or right is None:
        return case.decided("an equation against something else", False)
    if truth.op == "inequality" and truth.value != answer.value:
        return case.decided("unlike relations", False)
    ratio = constant_ratio(left, right, case.seed)
    if ratio is None:
        return case.decided("sides of different kinds", False)
    if truth.op == "inequality" and truth.value != "!=":
        return case.decided("sides equal up to a positive factor", is_positive(ratio))
    if _is_solved(truth) != _is_solved(answer):
        return case.decided("an equation rearranged", ratio in (1, -1))
    return case.decided("sides equal up to a factor", True)


def _is_solved(node: Node) -> bool:
    """Tell whether an equation gives the value of a name; `2x = 4` does not."""
    return node.op == "assigned" and not features(node.args[0]).names


def all_equal(truth: Node, answer: Node, case: Case) -> bool:
    """Compare `a = b = 1` with a list or point of as many values, or else as its first name."""
    several = frozenset(["list", "bracket", "set", "matrix"])
    both = [truth, answer]
    for at, other in ((0, both[1]), (1, both[0])):
        node = both[at]
        if node.op != "all equal":
            continue
        values = each_named(node)
        if other.op == "bracket" or (other.op == "assigned" and other.args[0].op == "bracket"):
            both[at] = Node("bracket", tuple(value.args[0] for value in values), "()")
        elif other.op in several or other.op == "all equal":
            both[at] = Node("list", values, "and")
        else:
            both[at] = Node("assigned", node.args, node.value[0], node.note)
    return case.same(both[0], both[1])


_SYMMETRIC = frozenset(["perp", "parallel", "similar", "congruent", "union", "intersection"])


def related(truth: Node, answer: Node, case: Case) -> bool:
    r"""Compare relations: `l \perp m` is symmetric, `A \subset B` is not."""
    if truth.op != answer.op or truth.value != answer.value:
        return case.unlike(truth, answer)
    if in_order(truth.args, answer.args, case):
        return True
    return truth.value in _SYMMETRIC and in_order(truth.args, answer.args[::-1], case)
