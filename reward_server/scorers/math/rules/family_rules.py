r"""Compare sets of values with a whole-number parameter.

`\frac{\pi}{4} + k\pi` and `\frac{5\pi}{4} + n\pi` are the same family: equal steps, from places
that are whole steps apart. Both are measured in steps of the ground truth, which makes them
rational.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

from flint import acb, fmpq
from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.answers.conditions import lower_bound
from touchstone_rewards.reward_server.scorers.math.answers.relations import put
from touchstone_rewards.reward_server.scorers.math.answers.whole_numbers import (
    FIELD_STARTS,
    PARAMETER,
    family,
)
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    CONSTANT_BITS,
    WHOLE_LETTERS,
    constant_value,
    features,
    same_value,
)
from touchstone_rewards.reward_server.scorers.math.rules.collection_rules import in_order
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node

MAX_PLACES = 400  # of a set within one period
MAX_LINES = 120
_PLACES = (2, -3, 5, 8)  # parameters at which an item is compared with its line
MAX_BITS = 256  # of a place or a step
DENOMINATORS = 5_040  # the denominator of a ratio of steps divides this
_ANGLE_NAMES = frozenset(["x", "theta", "alpha", "beta", "phi", "t", "z"])


class AffineLine(Struct):
    """The values offset + step · k."""

    offset: Node
    step: Node


def _lines(items: Sequence[Node], seed: int) -> list[AffineLine] | None:
    """Return the items as lines in `PARAMETER`; None if one is not a line."""
    if not 0 < len(items) <= MAX_LINES:
        return None
    found: list[AffineLine] = []
    for item in items:
        if item.op not in VALUES or features(item).names - {"parameter"}:
            return None
        lines = [_line(item, seed)]
        if lines[0] is None:  # (-1)^n: treat even and odd k separately
            twice = Node("mul", (Node("num", value=fmpq(2)), PARAMETER))
            odd = Node("add", (twice, Node("num", value=fmpq(1))))
            lines = [_line(put(item, "parameter", half), seed) for half in (twice, odd)]
        if any(line is None for line in lines):
            return None
        found += [line for line in lines if line is not None]
    return found


def _line(item: Node, seed: int) -> AffineLine | None:
    ends = [put(item, "parameter", Node("num", value=fmpq(at))) for at in (0, 1)]
    step = Node("add", (ends[1], Node("neg", (ends[0],))))
    straight = Node("add", (ends[0], Node("mul", (step, PARAMETER))))
    for at in _PLACES:
        place = Node("num", value=fmpq(at))
        here = put(item, "parameter", place), put(straight, "parameter", place)
        if not same_value(here[0], here[1], seed)[0]:
            return None
    return None if constant_value(step) in (None, 0) else AffineLine(ends[0], step)


def _in_units(node: Node, unit: Node) -> fmpq | None:
    """Return a constant in units of another, if that is a rational with a small denominator."""
    value = constant_value(Node("div", (node, unit)), CONSTANT_BITS)
    if not isinstance(value, acb):
        return value
    if not value.imag.contains(0):
        return None
    whole = (value.real * DENOMINATORS).unique_fmpz()
    return None if whole is None else fmpq(whole, DENOMINATORS)


def _places(lines: list[AffineLine], unit: Node) -> list[tuple[fmpq, fmpq]] | None:
    """Return each line's offset and step in the unit, or None."""
    found: list[tuple[fmpq, fmpq]] = []
    for line in lines:
        offset, step = _in_units(line.offset, unit), _in_units(line.step, unit)
        if offset is None or not step or max(map(_bits, (offset, step))) > MAX_BITS:
            return None
        found.append((offset, step))
    return found


def _bits(value: fmpq) -> int:
    return max(value.p.bit_length(), value.q.bit_length())


def _period(places: Sequence[tuple[fmpq, fmpq]]) -> fmpq:
    below = lcm(*(int(step.q) for _, step in places))
    return fmpq(lcm(*(abs(int(step.p)) * (below // int(step.q)) for _, step in places)), below)


def _spread(places: Sequence[tuple[fmpq, fmpq]], period: fmpq) -> set[tuple[int, int]] | None:
    """Return all places of the lines within one period; None if there are too many."""
    found: set[tuple[int, int]] = set()
    for offset, step in places:
        step = abs(step)
        count = period / step
        if count > MAX_PLACES:
            return None
        for number in range(int(count.p)):
            at = offset + number * step
            at -= period * fmpq((at / period).floor())
            found.add((int(at.p), int(at.q)))
        if len(found) > MAX_PLACES:
            return None
    return found


def _same_lines(truth: Sequence[Node], answer: Sequence[Node], case: Case) -> bool | None:
    """Tell whether both cover the same values over all whole numbers; None if undecidable."""
    lines = _lines(truth, case.seed), _lines(answer, case.seed)
    if lines[0] is None or lines[1] is None:
        return None
    unit = lines[0][0].step
    left, right = _places(lines[0], unit), _places(lines[1], unit)
    if left is None or right is None:
        return None
    period = _period([*left, *right])
    spread = _spread(left, period), _spread(right, period)
    if spread[0] is None or spread[1] is None:
        return None
    return spread[0] == spread[1]


def _starts(node: Node, case: Case) -> set[tuple[str, str]] | None:
    """Return the first values and steps of a family with a first value."""
    lines = _lines(node.args, case.seed)
    if lines is None or len(lines) > len(node.args):
        return None
    found: set[tuple[str, str]] = set()
    for line in lines:
        offset, step = constant_value(line.offset), constant_value(line.step)
        if not isinstance(offset, fmpq) or not isinstance(step, fmpq):
            return None
        found.add((str(offset + step * node.value[0]), str(step)))
    return found


def _is_natural_start(node: Node, case: Case) -> bool:
    r"""Tell whether the family starts at the first non-negative value of
    its lines: `3k + 1, k \ge 0`."""
    if node.value[0] is None:
        return True
    lines = _lines(node.args, case.seed)
    if lines is None or len(lines) > len(node.args):
        return False
    for line in lines:
        offset, step = constant_value(line.offset), constant_value(line.step)
        if not isinstance(offset, fmpq) or not isinstance(step, fmpq) or step <= 0:
            return False
        first = offset + step * node.value[0]
        if not 0 <= first <= step:
            return False
    return True


def families(truth: Node, answer: Node, case: Case) -> bool:
    """Compare families by their values; the statement that a parameter is whole may be omitted."""
    truth, answer = _as_family(truth), _as_family(answer)
    truth, answer = _as_whole(truth, answer), _as_whole(answer, truth)
    if truth.op == answer.op == "family":
        return _two_families(truth, answer, case)
    known, other = (truth, answer) if truth.op == "family" else (answer, truth)
    angle = truth.op == "assigned" and truth.value in _ANGLE_NAMES
    subjects = {item.value for item in (truth.args if truth.op == "list" else (truth,))}
    named = subjects == {known.note[1]} and not known.value[1]
    bare = _bare_family(other, known) if known is truth or angle or named else None
    if bare is not None:
        pair = (truth, bare) if known is truth else (bare, answer)
        if _two_families(*pair, case):
            return True
    if len(known.args) != 1 or known.value[2]:
        return case.unlike(truth, answer)
    value = put(known.args[0], "parameter", Node("name", value=known.note[0]))
    if known.note[1]:
        value = Node("assigned", (value,), known.note[1])
    return case.same(value, other) if known is truth else case.same(other, value)


def _as_whole(node: Node, beside: Node) -> Node:
    r"""Return `n \ge 3` as whole numbers if compared with `all integers n \ge 3`."""
    if beside.op != "family" or beside.args != (PARAMETER,) or node.op != "region":
        return node
    start = lower_bound(node, node.value) if node.value in WHOLE_LETTERS else None
    return node if start is None else family((PARAMETER,), start, "k", node.value)


def _as_family(node: Node) -> Node:
    r"""Return `\mathbb{Z}`, or `n \in \mathbb{Z}`, as a family."""
    inner = node.args[0] if node.op == "assigned" else node
    subject = node.value if node.op == "assigned" else None
    if inner.note == "field" and inner.value in FIELD_STARTS:
        return family((PARAMETER,), FIELD_STARTS[inner.value], "k", subject)
    if inner.op == "family" and node.op == "assigned":
        return Node("family", inner.args, inner.value, (inner.note[0], subject))
    if inner.op == "set" and len(inner.args) == 1 and inner.args[0].op == "family":
        inner = inner.args[0]
        return Node("family", inner.args, inner.value, (inner.note[0], subject))
    return inner if inner.op == "family" else node


def _bare_family(node: Node, known: Node) -> Node | None:
    """Return `3k + 1` or `n = 3k + 1` as a family over all whole
    numbers, to compare with a family."""
    items = node.args if node.op == "list" else (node,)
    if node.op == "assigned" and node.args[0].op == "list":
        items = [Node("assigned", (item,), node.value) for item in node.args[0].args]
    names = {item.value for item in items if item.op == "assigned"}
    bare = [item.args[0] if item.op == "assigned" else item for item in items]
    if len(names) > 1 or any(item.op not in VALUES for item in bare):
        return None
    letters = features(*bare).names
    if len(letters) != 1 or not letters <= WHOLE_LETTERS | {known.note[0]}:
        return None
    if known.value[1] and known.note[0] not in letters and not names:
        return None  # 2k + 1, k in Z, against a formula in n
    (letter,) = letters
    if any(letter not in features(item).names for item in bare):
        return None
    subject = next(iter(names)) if names else None
    made = tuple(put(item, letter, PARAMETER) for item in bare)
    return family(made, None, letter, subject, said=False)


def _two_families(truth: Node, answer: Node, case: Case) -> bool:
    names = truth.note[1], answer.note[1]
    if names[0] and names[1] and names[0] != names[1]:
        return case.decided("unlike names", False)
    if not _same_left_out(truth, answer, case):
        return case.decided("other values are left out", False)
    starts = truth.value[0], answer.value[0]
    if starts[0] is not None and starts[1] is not None:
        first = _starts(truth, case)
        if first is not None and first == _starts(answer, case):
            return case.decided("the same first values and steps", True)
    elif starts == (None, None) or _one_is_unsaid(truth, answer, case):
        alike = _same_lines(truth.args, answer.args, case)
        if alike is not None:
            return case.decided("the same values at whole numbers", alike)
    if starts[0] != starts[1]:
        return case.decided("the parameter starts elsewhere", False)
    if len(truth.args) != len(answer.args):
        return case.decided("different numbers of items", False)
    return in_order(truth.args, answer.args, case)


def _same_left_out(truth: Node, answer: Node, case: Case) -> bool:
    left, right = truth.value[2], answer.value[2]
    return len(left) == len(right) and all(any(case.quietly(a, b) for b in right) for a in left)


def _one_is_unsaid(truth: Node, answer: Node, case: Case) -> bool:
    """Tell whether one side states no start and the other omits no positive values."""
    unsaid, other = (truth, answer) if truth.value[0] is None else (answer, truth)
    return not unsaid.value[1] and _is_natural_start(other, case)


def renamed_family(truth: Node, answer: Node, case: Case) -> bool:
    r"""Compare `x = k\pi` and `x = n\pi` without a membership.

    Angles are compared by their values, whole numbers up to the parameter's name.
    """
    found = [features(node.args[0]) for node in (truth, answer)]
    names = [one.names for one in found]
    if truth.value != answer.value or any(len(n) != 1 or not n <= WHOLE_LETTERS for n in names):
        return False
    letters = [next(iter(n)) for n in names]
    if truth.value in letters or any(str(truth.value).endswith(f"_{each}") for each in letters):
        return False
    if any(node.note is not None and node.note.op != "name" for node in (truth, answer)):
        return False
    items = [
        put(node.args[0], letter, PARAMETER)
        for node, letter in zip((truth, answer), letters, strict=True)
    ]
    if found[0].angles and found[1].angles and truth.value in _ANGLE_NAMES:
        return bool(_same_lines(items[:1], items[1:], case))
    straight = _lines(items[:1], case.seed) is not None
    return letters[0] != letters[1] and straight and case.quietly(*items)
