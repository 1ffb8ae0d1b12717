"""Two shaped answers in, whether they are the same answer out: one rule for each pair of kinds.

The first is the ground truth, the second the prediction; only policies that say so look at which is
which. Single values are decided in `decide`, sets of reals in `regions`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from reward_server.scorers.math import regions
from reward_server.scorers.math.decide import (
    WHOLE_LETTERS,
    constant_value,
    features,
    proportional,
    same_value,
)
from reward_server.scorers.math.policy import Policy
from reward_server.scorers.math.rounding import rounds_to
from reward_server.scorers.math.shapes import as_region, shape
from reward_server.scorers.math.symbols import TURNING_WORDS
from reward_server.scorers.math.tree import Node, Unreadable
from reward_server.scorers.math.units import make_unit
from reward_server.scorers.math.words import same_words, words_of

MAX_MATCHING = 400  # items in lists that are matched without an order


class Case(Struct):
    """One comparison under way: its policy, the seed of its points, and what decided last."""

    policy: Policy
    seed: int
    method: str = ""

    def decided(self, method: str, equal: bool) -> bool:
        self.method = method
        return equal


_VALUES = frozenset(
    [
        "num",
        "name",
        "const",
        "index",
        "opaque",
        "call",
        "add",
        "mul",
        "div",
        "neg",
        "pow",
        "mod",
        "fact",
        "degree",
        "percent",
        "sum",
        "prod",
        "group",
    ]
)


def same(truth: Node, answer: Node, case: Case) -> bool:
    """Is the answer the ground truth?

    Raises:
        Unreadable: one of the two is nothing that can be compared.
    """
    if truth == answer:
        return case.decided("same tree", True)
    if truth.op in _VALUES and answer.op in _VALUES:
        return _values(truth, answer, case)
    for kinds, rule in _RULES:
        if truth.op in kinds or answer.op in kinds:
            return rule(truth, answer, case)
    return case.decided(f"{truth.op} against {answer.op}", False)


# ---- single values


def _values(truth: Node, answer: Node, case: Case) -> bool:
    equal, method = same_value(truth, answer, case.seed)
    if equal:
        return case.decided(method, True)
    if "percent" in (truth.op, answer.op) and case.policy.percent == "either":
        bare = [node.args[0] if node.op == "percent" else node for node in (truth, answer)]
        if same_value(bare[0], bare[1], case.seed)[0]:
            return case.decided("a percent sign set aside", True)
    if (truth.op == "degree") != (
        answer.op == "degree"
    ) and case.policy.angles == "degrees_optional":
        bare = [node.args[0] if node.op == "degree" else node for node in (truth, answer)]
        if same_value(bare[0], bare[1], case.seed)[0]:
            return case.decided("a degree sign set aside", True)
    if _same_family(truth, answer, case):
        return case.decided("another name for a whole number", True)
    if rounds_to(truth, answer, case.policy.rounding):
        return case.decided("rounding", True)
    return case.decided(method, False)


def _same_family(truth: Node, answer: Node, case: Case) -> bool:
    """`2k\\pi` and `2n\\pi`: angles, with another letter for any whole number."""
    found = [features(node) for node in (truth, answer)]
    names = [one.names for one in found]
    if any(len(n) != 1 or not n <= WHOLE_LETTERS for n in names) or names[0] == names[1]:
        return False
    if not (found[0].angles and found[1].angles):
        return False
    other = Node("name", value=next(iter(names[0])))
    return same_value(truth, _replace(answer, {next(iter(names[1])): other}), case.seed)[0]


# ---- words


def _texts(truth: Node, answer: Node, case: Case) -> bool:
    if truth.op == "text" and answer.op == "text":
        return case.decided("words", same_words(truth.value, answer.value))
    text, other = (truth, answer) if truth.op == "text" else (answer, truth)
    letters = letters_of(other)
    return case.decided("letters", letters is not None and letters == words_of(text.value))


def letters_of(node: Node) -> str | None:
    """`D*N*E`, read as a product of letters, as the word `dne`."""
    if node.op in ("name", "const"):
        return str(node.value).casefold()
    if node.op != "mul":
        return None
    letters = [letters_of(part) for part in node.args]
    return "".join(map(str, letters)) if None not in letters else None


def _choices(truth: Node, answer: Node, case: Case) -> bool:
    """A letter with its text against the letter, the text, or both."""
    if truth.op == "choice" and answer.op == "choice":
        return case.decided("choice letters", truth.value == answer.value)
    with_text, other = (truth, answer) if truth.op == "choice" else (answer, truth)
    if other.op == "name" and len(other.value) == 1:
        return case.decided("choice letter", with_text.value == other.value)
    if not with_text.args:
        return case.decided("choice letter", False)
    pair = (with_text.args[0], other) if truth.op == "choice" else (other, with_text.args[0])
    return same(pair[0], pair[1], case)


def _labels(truth: Node, answer: Node, case: Case) -> bool:
    """Words beside a value are set aside, unless they turn it into something else."""
    for node in (truth, answer):
        if node.op == "labelled" and _turns(node.value):
            return case.decided("words that turn the value", truth == answer)
    bare = [node.args[0] if node.op == "labelled" else node for node in (truth, answer)]
    return same(bare[0], bare[1], case)


def _turns(words: str) -> bool:
    found = words.lower().split()
    return len(found) > 4 or any(word in TURNING_WORDS for word in found)


def _quantities(truth: Node, answer: Node, case: Case) -> bool:
    """The same unit, one that converts, or none on one side, as the policy has it."""
    bare = [node.args[0] if node.op == "quantity" else node for node in (truth, answer)]
    if case.policy.units == "ignored":
        return same(bare[0], bare[1], case)
    units = [make_unit(node.value) if node.op == "quantity" else None for node in (truth, answer)]
    if truth.op != answer.op:
        if {"degree", "percent"} & {truth.op, answer.op}:
            return _unlike(case)
        if case.policy.units == "required":
            return case.decided("a unit is missing", False)
        return same(bare[0], bare[1], case)
    if units[0] is None or units[1] is None:
        return same(bare[0], bare[1], case) if truth.value == answer.value else _unlike(case)
    if not units[0].dimensions or not units[1].dimensions:
        return same(bare[0], bare[1], case)
    if units[0].dimensions != units[1].dimensions:
        return _unlike(case)
    ratio = units[1].factor / units[0].factor
    if ratio == 1:
        return same(bare[0], bare[1], case)
    return same(bare[0], Node("mul", (Node("num", value=ratio), bare[1])), case)


def _unlike(case: Case) -> bool:
    return case.decided("unlike units", False)


# ---- names and equations


def _assignments(truth: Node, answer: Node, case: Case) -> bool:
    """A named value against a value: the name is set aside. Two names must be the same."""
    if truth.op == "assigned" and answer.op == "assigned":
        if truth.value == answer.value or _renamed(truth, answer):
            if same(truth.args[0], _rename(truth, answer), case):
                return True
        return _equations(truth, answer, case)
    if truth.op in ("equation", "inequality") or answer.op in ("equation", "inequality"):
        return _equations(truth, answer, case)
    if "region" in (truth.op, answer.op):
        return _regions(truth, answer, case)
    bare = [node.args[0] if node.op == "assigned" else node for node in (truth, answer)]
    return same(bare[0], bare[1], case)


def _renamed(truth: Node, answer: Node) -> bool:
    """f(x) = x² and f(t) = t²: functions whose arguments have other names."""
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
    return _replace(value, names) if names else value


def _replace(node: Node, names: dict[str, Node]) -> Node:
    if node.op == "name":
        return names.get(node.value, node)
    if not node.args:
        return node
    return Node(node.op, tuple(_replace(part, names) for part in node.args), node.value, node.note)


def _difference(node: Node) -> Node | None:
    """The side of an equation whose zeros it asks for."""
    if node.op in ("equation", "inequality"):
        left, right = node.args
    elif node.op == "assigned" and node.note is not None and node.args[0].op in _VALUES:
        left, right = node.note, node.args[0]
    else:
        return None
    if left.op not in _VALUES or right.op not in _VALUES:
        return None
    return Node("add", (left, Node("neg", (right,))))


def _equations(truth: Node, answer: Node, case: Case) -> bool:
    """Equal up to a constant factor; an inequality up to a positive one."""
    if (truth.op == "inequality") != (answer.op == "inequality"):
        return case.decided("an equation against an inequality", False)
    left, right = _difference(truth), _difference(answer)
    if left is None or right is None:
        return case.decided("an equation against something else", False)
    if truth.op == "inequality" and truth.value != answer.value:
        return case.decided("unlike relations", False)
    factor = proportional(left, right, case.seed)
    wanted = (1,) if truth.op == "inequality" and truth.value != "!=" else (1, -1, 2)
    return case.decided("sides equal up to a factor", factor in wanted)


# ---- many values


def _items(node: Node) -> Sequence[Node] | None:
    return node.args if node.op in ("list", "set") else None


def _collections(truth: Node, answer: Node, case: Case) -> bool:
    """Lists and sets: matched item by item, in any order unless the policy says otherwise."""
    left, right = _items(truth), _items(answer)
    if left is None or right is None:
        return _collection_against(truth, answer, case)
    ordered = case.policy.order == "ordered" and truth.op == answer.op == "list"
    if ordered:
        return _in_order(left, right, case)
    if max(len(left), len(right)) > MAX_MATCHING:
        return case.decided("too many items", False)
    left, right = _without_names(left, right)
    return _matched(_distinct(left, case), _distinct(right, case), case)


def _without_names(left: Sequence[Node], right: Sequence[Node]) -> tuple[Sequence[Node], ...]:
    """Both lists, without their names where only one of them names its items."""
    names = [[item.value for item in items if item.op == "assigned"] for items in (left, right)]
    named = [
        bool(found) and len(found) == len(i) for found, i in zip(names, (left, right), strict=True)
    ]
    if named == [True, True]:
        if min(len(set(names[0])), len(set(names[1]))) > 1:
            return left, right
        named = [True, True]  # x = 2 or x = 3: one name for all is no name
    return tuple(
        [item.args[0] for item in items] if strip else items
        for items, strip in zip((left, right), named, strict=True)
    )


def _collection_against(truth: Node, answer: Node, case: Case) -> bool:
    """A list or set against something that is none."""
    many, one = (truth, answer) if _items(truth) is not None else (answer, truth)
    if one.op == "bracket" and many.op == "list" and one.value == "()":
        return _in_order(truth.args, answer.args, case)
    if one.op == "region":
        return _regions(truth, answer, case)
    if one.op == "assigned":
        return _assignments(truth, answer, case)
    distinct = _distinct(many.args, case)
    if len(distinct) != 1:
        return case.decided("several values against one", False)
    pair = (distinct[0], one) if many is truth else (one, distinct[0])
    return same(pair[0], pair[1], case)


def _distinct(items: Sequence[Node], case: Case) -> list[Node]:
    kept: list[Node] = []
    others: list[Node] = []
    exact: set[tuple[int, int]] = set()
    for item in items:
        plain = _exact(item)
        if plain is not None and plain in exact:
            continue
        if any(_same_quietly(other, item, case) for other in (kept if plain is None else others)):
            continue
        kept.append(item)
        if plain is None:
            others.append(item)
        else:
            exact.add(plain)
    return kept


def _exact(node: Node) -> tuple[int, int] | None:
    """A plain number as a key."""
    return (int(node.value.p), int(node.value.q)) if node.op == "num" else None


def _same_quietly(left: Node, right: Node, case: Case) -> bool:
    try:
        return same(left, right, case)
    except Unreadable:
        return False


def _in_order(left: Sequence[Node], right: Sequence[Node], case: Case) -> bool:
    if len(left) != len(right):
        return case.decided("unlike numbers of items", False)
    equal = all(same(a, b, case) for a, b in zip(left, right, strict=True))
    return case.decided(f"item by item: {case.method}", equal)


def _matched(left: list[Node], right: list[Node], case: Case) -> bool:
    """Is there a partner for each? Plain numbers first, by value; then one by one."""
    if len(left) != len(right):
        return case.decided("unlike numbers of items", False)
    keys = [[_exact(node) for node in nodes] for nodes in (left, right)]
    shared = set(keys[0]) & set(keys[1]) - {None}
    rest = [node for node, key in zip(left, keys[0], strict=True) if key not in shared]
    open_right = [node for node, key in zip(right, keys[1], strict=True) if key not in shared]
    for item in rest:
        at = next((i for i, b in enumerate(open_right) if _same_quietly(item, b, case)), None)
        if at is None:
            return case.decided("an item without a partner", False)
        del open_right[at]
    return case.decided("items matched", True)


def _brackets(truth: Node, answer: Node, case: Case) -> bool:
    """Points, intervals and vectors, item by item; open and closed ends are not the same."""
    if any(node.op == "region" or node.note == "field" for node in (truth, answer)):
        return _regions(truth, answer, case)
    if "matrix" in (truth.op, answer.op):
        return _vectors(truth, answer, case)
    if truth.op != answer.op:
        return case.decided(f"{truth.op} against {answer.op}", False)
    if truth.value != answer.value and len(truth.args) == 2:
        return case.decided("unlike brackets", False)
    return _in_order(truth.args, answer.args, case)


def _vectors(truth: Node, answer: Node, case: Case) -> bool:
    """Matrices of one size cell by cell; a column or row of numbers is a tuple as well."""
    if truth.op == answer.op == "matrix":
        if truth.value != answer.value:
            return case.decided("matrices of unlike size", False)
        return _in_order(truth.args, answer.args, case)
    matrix, other = (truth, answer) if truth.op == "matrix" else (answer, truth)
    if (rows := _rows(other)) is not None:
        pair = (truth, rows) if matrix is truth else (rows, answer)
        return _vectors(pair[0], pair[1], case)
    if other.op not in ("bracket", "list") or 1 not in matrix.value:
        return case.decided(f"{truth.op} against {answer.op}", False)
    return _in_order(truth.args, answer.args, case)


def _rows(node: Node) -> Node | None:
    """`[[1, 2], [3, 4]]` as a matrix."""
    if node.op != "bracket" or any(row.op != "bracket" for row in node.args):
        return None
    width = len(node.args[0].args)
    if any(len(row.args) != width for row in node.args):
        return None
    return Node("matrix", tuple(c for row in node.args for c in row.args), (len(node.args), width))


def _regions(truth: Node, answer: Node, case: Case) -> bool:
    """Sets of reals: the same pieces, whatever they were written as."""
    try:
        left, right = as_region(truth), as_region(answer)
    except Unreadable:
        return case.decided(f"{truth.op} against {answer.op}", False)
    left, right = regions.canonical(left), regions.canonical(right)
    if len(left.args) != len(right.args):
        return case.decided("unlike numbers of pieces", False)
    open_right = list(right.args)
    for part in left.args:
        at = next((i for i, b in enumerate(open_right) if _same_piece(part, b, case)), None)
        if at is None:
            return case.decided("pieces apart", False)
        del open_right[at]
    return case.decided("the same pieces", True)


def _same_piece(left: Node, right: Node, case: Case) -> bool:
    return left.value == right.value and all(
        _same_quietly(a, b, case) for a, b in zip(left.args, right.args, strict=True)
    )


def _ratios(truth: Node, answer: Node, case: Case) -> bool:
    """Proportional: 2:4 is 1:2. A ratio of two may be written as a fraction."""
    if truth.op == answer.op:
        if len(truth.args) != len(answer.args):
            return case.decided("ratios of unlike length", False)
        if any(constant_value(part) in (None, 0) for part in truth.args + answer.args):
            return _in_order(truth.args, answer.args, case)
        scaled = [
            [Node("div", (part, node.args[0])) for part in node.args] for node in (truth, answer)
        ]
        return _in_order(scaled[0], scaled[1], case)
    ratio, other = (truth, answer) if truth.op == "ratio" else (answer, truth)
    if len(ratio.args) != 2 or other.op not in _VALUES:
        return case.decided(f"{truth.op} against {answer.op}", False)
    return same(Node("div", ratio.args), other, case)


def _bases(truth: Node, answer: Node, case: Case) -> bool:
    """Numbers written in a base: the digits and the base."""
    return case.decided("digits and base", truth == answer)


def _cases(truth: Node, answer: Node, case: Case) -> bool:
    """Piecewise: each value with its condition, in any order."""
    if truth.op != answer.op or len(truth.args) != len(answer.args):
        return case.decided(f"{truth.op} against {answer.op}", False)
    pairs = [
        [Node("list", node.args[at : at + 2]) for at in range(0, len(node.args), 2)]
        for node in (truth, answer)
    ]
    open_right = pairs[1]
    for pair in pairs[0]:
        at = next((i for i, b in enumerate(open_right) if _same_case(pair, b, case)), None)
        if at is None:
            return case.decided("a piece without a partner", False)
        del open_right[at]
    return case.decided("piece by piece", True)


def _same_case(left: Node, right: Node, case: Case) -> bool:
    try:
        shaped = [(shape(a), shape(b)) for a, b in zip(left.args, right.args, strict=True)]
    except Unreadable:
        return False
    return all(_same_quietly(a, b, case) for a, b in shaped)


def _builders(truth: Node, answer: Node, case: Case) -> bool:
    """What is only ever the same as its own kind: part by part, under one value; but a family may
    leave out that its parameter is whole."""
    if truth.op != answer.op and "family" in (truth.op, answer.op):
        return _family_against(truth, answer, case)
    if truth.op != answer.op or truth.value != answer.value:
        return case.decided(f"{truth.op} against {answer.op}", False)
    return _in_order(truth.args, answer.args, case)


def _family_against(truth: Node, answer: Node, case: Case) -> bool:
    bare = [
        _replace(node.args[0], {"parameter": Node("name", value=node.note)})
        if node.op == "family" and len(node.args) == 1
        else node
        for node in (truth, answer)
    ]
    if "family" in (bare[0].op, bare[1].op):
        return case.decided("a family against something else", False)
    return same(bare[0], bare[1], case)


# The first rule that knows one of the two kinds decides.
_RULES = (
    (frozenset(["choice"]), _choices),
    (frozenset(["setof", "quantified", "family", "time"]), _builders),
    (frozenset(["labelled"]), _labels),
    (frozenset(["text"]), _texts),
    (frozenset(["assigned"]), _assignments),
    (frozenset(["quantity"]), _quantities),
    (frozenset(["list", "set"]), _collections),
    (frozenset(["bracket"]), _brackets),
    (frozenset(["region"]), _regions),
    (frozenset(["matrix"]), _vectors),
    (frozenset(["equation", "inequality"]), _equations),
    (frozenset(["ratio"]), _ratios),
    (frozenset(["base"]), _bases),
    (frozenset(["cases"]), _cases),
)
