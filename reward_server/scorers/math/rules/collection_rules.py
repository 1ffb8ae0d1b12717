"""Compare collections: lists, sets, points, vectors, regions, ratios, numbered parts."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.scorers.math.grammar.words import letters_of
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import constant_value
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node, Unreadable

# Letters whose indices number the solutions of one unknown: x_1 = 2, x_2 = 3.
_SOLUTION_NAMES = frozenset(["x", "y", "z", "t", "r", "s", "n", "lambda", "theta"])
_HALF_OPEN = frozenset(["[)", "(]"])
MAX_REPEATS = 4  # of one value; beyond it, a list is padding and not an answer written twice
MAX_MATCHING = 400  # items in lists that are matched without an order


def _items(node: Node) -> Sequence[Node] | None:
    return node.args if node.op in ("list", "set") else None


def collections(truth: Node, answer: Node, case: Case) -> bool:
    """Compare lists and sets item by item, in any order unless the policy requires one."""
    left, right = _items(truth), _items(answer)
    if left is None or right is None:
        return _collection_against(truth, answer, case)
    named = [names_of(items) for items in (left, right)]
    if case.policy.order == "ordered" and _has_order(truth, answer, named):
        return in_order(left, right, case)
    if max(len(left), len(right)) > MAX_MATCHING:
        return case.decided("too many items", False)
    if any(item.op == "quantified" for item in (*left, *right)):
        return in_order(left, right, case)  # "for all x, some y" is not "some y, for all x"
    if any(_several(names) for names in named):
        return _by_name(truth, answer, named, case)
    if named[0] and named[1] and set(map(_base, named[0])) != set(map(_base, named[1])):
        return case.decided("unlike names", False)
    left, right = (
        [item.args[0] for item in items] if names else items
        for items, names in zip((left, right), named, strict=True)
    )
    return _as_sets(left, right, case)


def _has_order(truth: Node, answer: Node, named: list[list[str]]) -> bool:
    """Tell whether both are ordered: items of ± are not, and names identify items anyway."""
    if truth.op != "list" or answer.op != "list" or all(map(_several, named)):
        return False
    return "signs" not in (truth.note, answer.note)


def _as_sets(left: Sequence[Node], right: Sequence[Node], case: Case) -> bool:
    """Match two lists with each item counted once; a list with many
    repeats is rejected as padding."""
    distinct = [_distinct(items, case) for items in (left, right)]
    if len(right) > MAX_REPEATS and len(right) > 2 * len(distinct[1]):
        return case.decided("too many repeats", False)
    return _matched(distinct[0], distinct[1], case)


def names_of(items: Sequence[Node]) -> list[str]:
    """Return the names of the items; an empty list if an item has no name."""
    names = [str(item.value) for item in items if item.op == "assigned"]
    return names if len(names) == len(items) else []


def _base(name: str) -> str:
    """Return `x` for the enumerated solutions `x_1` and `x_2`; other names unchanged."""
    letter, _, number = name.partition("_")
    return letter if letter in _SOLUTION_NAMES and number.isdigit() else name


def _several(names: list[str]) -> bool:
    """Tell whether the names belong to more than one unknown."""
    return len(set(map(_base, names))) > 1


def _by_name(truth: Node, answer: Node, named: list[list[str]], case: Case) -> bool:
    """Match `x = 2, y = 3` by name; values without names must follow the order of the names."""
    if named[0] and named[1]:
        if (truth.value == "or") != (answer.value == "or"):
            return case.decided("a list joined by and against a list joined by or", False)
        return _as_sets(truth.args, answer.args, case)
    if "set" in (truth.op, answer.op) or any(n.op == "assigned" for n in _bare(truth, answer)):
        return case.decided("named values against others", False)
    bare = [
        [item.args[0] for item in node.args] if names else list(node.args)
        for node, names in zip((truth, answer), named, strict=True)
    ]
    return in_order(bare[0], bare[1], case)


def _bare(truth: Node, answer: Node) -> Sequence[Node]:
    """Return the items of the list whose items are not all named."""
    return answer.args if names_of(truth.args) else truth.args


def _collection_against(truth: Node, answer: Node, case: Case) -> bool:
    """Compare a list or set with an answer of another kind."""
    many, one = (truth, answer) if _items(truth) is not None else (answer, truth)
    if one.op == "bracket" and many.op == "list" and one.value == "()":
        return in_order(truth.args, answer.args, case)
    if one.op == "region":
        return regions_of(truth, answer, case)
    if one.op == "assigned":
        bare = [node.args[0] if node.op == "assigned" else node for node in (truth, answer)]
        return case.same(bare[0], bare[1])
    if _same_letters(many, one):
        return case.decided("several letters", True)
    distinct = _distinct(many.args, case)
    if len(distinct) != 1 or len(many.args) > MAX_REPEATS:
        return case.decided("several values against one", False)
    pair = (distinct[0], one) if many is truth else (one, distinct[0])
    return case.same(pair[0], pair[1])


def _same_letters(many: Node, one: Node) -> bool:
    """Tell whether `A, C` and `AC` are the same choices."""
    letters = letters_of(one)
    if not letters or any(n.op != "name" or not n.value.isupper() for n in many.args):
        return False
    return sorted(letters) == sorted(node.value.casefold() for node in many.args)


def _distinct(items: Sequence[Node], case: Case) -> list[Node]:
    kept: list[Node] = []
    others: list[Node] = []
    exact: set[tuple[int, int]] = set()
    for item in items:
        plain = _exact(item)
        if plain is not None and plain in exact:
            continue
        if any(case.quietly(other, item) for other in (kept if plain is None else others)):
            continue
        kept.append(item)
        if plain is None:
            others.append(item)
        else:
            exact.add(plain)
    return kept


def _exact(node: Node) -> tuple[int, int] | None:
    """Return a plain number as a hashable key, or None."""
    return (int(node.value.p), int(node.value.q)) if node.op == "num" else None


def in_order(left: Sequence[Node], right: Sequence[Node], case: Case) -> bool:
    if len(left) != len(right):
        return case.decided("different numbers of items", False)
    equal = all(case.same(a, b) for a, b in zip(left, right, strict=True))
    return case.decided(f"item by item: {case.method}", equal)


def _matched(left: list[Node], right: list[Node], case: Case) -> bool:
    """Tell whether all items can be paired: plain numbers first, by value, then one by one."""
    if len(left) != len(right):
        return case.decided("different numbers of items", False)
    keys = [[_exact(node) for node in nodes] for nodes in (left, right)]
    shared = set(keys[0]) & set(keys[1]) - {None}
    rest = [node for node, key in zip(left, keys[0], strict=True) if key not in shared]
    open_right = [node for node, key in zip(right, keys[1], strict=True) if key not in shared]
    for item in rest:
        at = next((i for i, b in enumerate(open_right) if case.quietly(item, b)), None)
        if at is None:
            return case.decided("an item without a partner", False)
        del open_right[at]
    return case.decided("items matched", True)


def statements(truth: Node, answer: Node, case: Case) -> bool:
    """Compare logical formulas: the same connective over the same parts, in any order."""
    if truth.value != answer.value or {truth.op, answer.op} - {"logic", "list"}:
        return case.unlike(truth, answer)
    if any(map(_is_directed, truth.args)):
        return in_order(truth.args, answer.args, case)
    return _matched(list(truth.args), list(answer.args), case)


def _is_directed(node: Node) -> bool:
    r"""Tell whether an operand is a vector or a differential, so that \wedge is anticommutative."""
    first = node.args[0] if node.op == "mul" else node
    return first.op == "name" and (first.value == "d" or first.value.startswith("vec "))


def brackets(truth: Node, answer: Node, case: Case) -> bool:
    """Compare points, intervals and vectors item by item; open and closed ends differ."""
    if any(node.op == "region" or node.note == "field" for node in (truth, answer)):
        return regions_of(truth, answer, case)
    if "matrix" in (truth.op, answer.op):
        return vectors(truth, answer, case)
    if truth.op != answer.op:
        return case.unlike(truth, answer)
    if truth.value != answer.value and len(truth.args) == 2:
        return case.decided("unlike brackets", False)
    return in_order(truth.args, answer.args, case)


def vectors(truth: Node, answer: Node, case: Case) -> bool:
    """Compare matrices of equal size cell by cell; a row or column also equals a tuple."""
    if truth.op == answer.op == "matrix":
        if truth.value != answer.value:
            return case.decided("matrices of different sizes", False)
        return in_order(truth.args, answer.args, case)
    matrix, other = (truth, answer) if truth.op == "matrix" else (answer, truth)
    if (rows := _rows(other)) is not None:
        pair = (truth, rows) if matrix is truth else (rows, answer)
        return vectors(pair[0], pair[1], case)
    if other.op not in ("bracket", "list") or 1 not in matrix.value:
        return case.unlike(truth, answer)
    if other.value in _HALF_OPEN:
        return case.decided("a vector against an interval", False)
    return in_order(truth.args, answer.args, case)


def _rows(node: Node) -> Node | None:
    """Return `[[1, 2], [3, 4]]` as a matrix."""
    if node.op != "bracket" or any(row.op != "bracket" for row in node.args):
        return None
    width = len(node.args[0].args)
    if any(len(row.args) != width for row in node.args):
        return None
    return Node("matrix", tuple(c for row in node.args for c in row.args), (len(node.args), width))


def regions_of(truth: Node, answer: Node, case: Case) -> bool:
    """Compare sets of reals by their pieces, whatever their notation."""
    try:
        left, right = regions.as_region(truth), regions.as_region(answer)
    except Unreadable:
        return case.unlike(truth, answer)
    left, right = regions.canonical(left), regions.canonical(right)
    if left.value and right.value and left.value != right.value:
        return case.decided("unlike names", False)
    if len(left.args) != len(right.args):
        return case.decided("different numbers of pieces", False)
    open_right = list(right.args)
    for part in left.args:
        at = next((i for i, b in enumerate(open_right) if _same_piece(part, b, case)), None)
        if at is None:
            return case.decided("pieces apart", False)
        del open_right[at]
    return case.decided("the same pieces", True)


def _same_piece(left: Node, right: Node, case: Case) -> bool:
    return left.value == right.value and all(
        case.quietly(a, b) for a, b in zip(left.args, right.args, strict=True)
    )


def ratios(truth: Node, answer: Node, case: Case) -> bool:
    """Compare ratios up to proportion: 2:4 is 1:2. A ratio of two may be written as a fraction."""
    if truth.op == answer.op:
        if len(truth.args) != len(answer.args):
            return case.decided("ratios of different lengths", False)
        if any(constant_value(part) in (None, 0) for part in truth.args + answer.args):
            return in_order(truth.args, answer.args, case)
        scaled = [
            [Node("div", (part, node.args[0])) for part in node.args] for node in (truth, answer)
        ]
        return in_order(scaled[0], scaled[1], case)
    ratio, other = (truth, answer) if truth.op == "ratio" else (answer, truth)
    if len(ratio.args) != 2 or other.op not in VALUES:
        return case.unlike(truth, answer)
    return case.same(Node("div", ratio.args), other)


def times(truth: Node, answer: Node, case: Case) -> bool:
    """Compare times of day: 16:30 is 4:30 p.m."""
    if truth.op == answer.op:
        return like_kinds(truth, answer, case)
    time, other = (truth, answer) if truth.op == "time" else (answer, truth)
    late = other.op == "ratio" and other.args[0].op == "num" and 12 < other.args[0].value < 24
    if not late or time.value != "p" or len(time.args) != len(other.args):
        return case.unlike(truth, answer)
    hour = Node("num", value=other.args[0].value - 12)
    return in_order(time.args, (hour, *other.args[1:]), case)


def bases(truth: Node, answer: Node, case: Case) -> bool:
    """Compare numbers written in a base by digits and base."""
    return case.decided("digits and base", truth == answer)


def like_kinds(truth: Node, answer: Node, case: Case) -> bool:
    """Compare nodes that equal only their own kind, part by part."""
    if truth.op != answer.op or truth.value != answer.value:
        return case.unlike(truth, answer)
    return in_order(truth.args, answer.args, case)


def parts(truth: Node, answer: Node, case: Case) -> bool:
    """Compare answers to numbered parts in order, whether or not the numbers are written."""
    given = answer if answer.op == "parts" else truth
    other = truth if given is answer else answer
    if other.op not in ("parts", "list") and (other.op, other.value) != ("bracket", "()"):
        return case.unlike(truth, answer)
    return in_order(truth.args, answer.args, case)
