r"""Read answers with a condition: `2n + 1 for n >= 0`, `x^c, c \ne -1`, `8p (odd primes p)`.

A condition is read the same way in every notation. The result is one of three nodes:

    family       the parameter is a whole number: a set of values, see `whole_numbers`
    conditioned  args: the value, then its conditions
    free         value: letters for arbitrary numbers; note: whether they are called constants
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.answers.properties import (
    BARE,
    TEXT_COMMAND,
    property_in,
)
from touchstone_rewards.reward_server.scorers.math.answers.relations import put
from touchstone_rewards.reward_server.scorers.math.answers.whole_numbers import (
    FIELD_STARTS,
    PARAMETER,
    family,
    from_value,
    in_words,
)
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    WHOLE_LETTERS,
    constant_value,
    features,
)
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node, Unreadable

MAX_CHARS = 600
MAX_CONDITIONS = 8

_HINT = re.compile(r"\b(?:where|for|if|when|whenever|with|provided|such|given)\b|其中")
_CONNECTOR = re.compile(
    r"(?:\b(?:where|for|if|when|whenever|with|provided that|provided|such that|given that|given)\b"
    r"|其中)"
)
# `x^2 (x > 0)`: brackets at the end that contain a relation.
_RELATION_SIGN = re.compile(r"\\(?:in|ge|geq|geqslant|le|leq|leqslant|ne|neq)(?![a-z])|[<>=]|!=")
_CHINESE_WHOLE = re.compile(r"([a-zA-Z]) ?[为是](正?)整数")
_SEVERAL = re.compile(r" ?([a-zA-Z](?: ?, ?[a-zA-Z]){1,5}) ?\\in ?([^,]{1,40})")
# `for all x`, without a statement about x.
_FOR_ALL = re.compile(
    r",? ?\bfor (?:all|any|every|each)(?: real)?(?: numbers?)? \$?[a-z]\$?(?! ?, ?\$?[a-z]\b)"
    r" ?(?=[,;.]|and\b|or\b)"
)
# Where a value is attained, which is not a condition on it.
_ASIDE = re.compile(
    r"\b(?:achieved|attained|reached|obtained|which occurs|occurring|equality holds|with equality)"
    r" (?:when|if|for|at|where)\b"
)
_SIGNED = {"positive": 1, "nonnegative": 0}

NodeReader = Callable[[str], Node]


def stated_with_condition(text: str, read: NodeReader) -> Node | None:
    """Return the answer in `text` if a condition follows it in words or brackets, else None.

    `read` parses the parts and raises Unreadable.
    """
    if len(text) > MAX_CHARS:
        return None
    if text[-1] == ")" and (parts := _in_brackets(text)) is not None:
        return _attached(*parts, read)
    if (" " not in text and "\\text" not in text and text.isascii()) or not _HINT.search(text):
        return None
    flat = " ".join(TEXT_COMMAND.sub(r" \1 ", text).split())
    shorter = _FOR_ALL.sub(" ", flat).strip() if "for" in flat else flat
    found = _CONNECTOR.search(shorter)
    if (aside := _ASIDE.search(shorter)) is not None:
        return _or_none(shorter[: aside.start()].rstrip(" ,;($"), read)
    if found is None and shorter != flat:
        return _or_none(shorter, read)
    flat = shorter
    if found is None or not found.start():
        return None
    head = flat[: found.start()].rstrip(" ,;:($")
    return _attached(head, flat[found.end() :], read)


def _or_none(text: str, read: NodeReader) -> Node | None:
    try:
        return read(text) if text else None
    except Unreadable:
        return None


def _in_brackets(text: str) -> tuple[str, str] | None:
    r"""Split `2n + 1 (n \ge 0)` into its two parts, or return None."""
    opening = text.rfind("(")
    inner = text[opening + 1 : -1]
    if opening < 1 or not (_RELATION_SIGN.search(inner) or _HINT.search(inner)):
        return None
    head = text[:opening].rstrip(" \\~,;")
    if not head or head[-1] in "+-*/^_=({<>|" or head.endswith(("\\left", "\\cdot", "\\times")):
        return None
    if (first := _CONNECTOR.search(flat := TEXT_COMMAND.sub(r" \1 ", inner))) is not None:
        return (head, flat[first.end() :]) if not flat[: first.start()].strip() else None
    return head, inner


def _attached(head: str, said: str, read: NodeReader) -> Node | None:
    """Return the value of `head` under the condition `said`, or None if
    `said` is not a condition."""
    if not head or not _balanced(head):
        return None
    try:
        conditions = _conditions(_without_closers(said), read)
        if not conditions:
            return None
        value = read(head)
    except Unreadable:
        return None
    if value.op in ("text", "name", "choice"):
        return None
    return under(value, conditions)


def _balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("{}", "()"))


def _without_closers(text: str) -> str:
    """Strip closing brackets and signs at the end whose opening counterpart is not in `text`."""
    text = text.strip(" $.,;")
    while text and text[-1] in ")}":
        opening = "(" if text[-1] == ")" else "{"
        if text.count(opening) >= text.count(text[-1]):
            break
        text = text[:-1].rstrip(" $.,;")
    return text


def _conditions(said: str, read: NodeReader) -> list[Node]:
    """Return the conditions in `said`; an empty list if it is not a condition."""
    if (several := _SEVERAL.fullmatch(said)) is not None:
        letters = several[1].replace(" ", "").split(",")
        return [read(f"{letter} \\in {several[2]}") for letter in letters]
    said = _CHINESE_WHOLE.sub(lambda m: f"{m[1]} is {'positive ' if m[2] else ''}integer", said)
    if (named := property_in(said)) is not None:
        return [named]
    for word in ("all ", "any ", "some ", "every ", "each "):
        said = said.removeprefix(word)
    node = read(said)
    parts = list(node.args) if node.op == "list" else [node]
    return parts if all(is_condition(part) for part in parts) else []


def is_condition(node: Node) -> bool:
    """Tell whether the answer relates a named thing to something else."""
    if node.op == "region":
        return node.value is not None
    return node.op in ("inequality", "assigned", "equation", "congruence", "property") or (
        node.op == "family" and node.note[1] is not None
    )


def under(value: Node, conditions: Sequence[Node]) -> Node:
    """Attach `conditions` to `value`.

    A condition that only introduces a letter is dropped, a whole-number parameter makes a family,
    and all others are kept.
    """
    kept: list[Node] = []
    named: set[str] = set()
    constant: set[str] = set()
    for condition in sorted(conditions, key=lambda each: _whole_start(each) is None):
        if _is_naming(condition):
            letters = condition.value[1] if condition.op == "property" else (condition.value,)
            said_so = condition.op == "property" and "constant" in condition.value[0]
            (constant if said_so else named).update(letters)
            continue
        start = _whole_start(condition)
        if start is not None and _is_formula(value, start[0]):
            if start[1] is not None:
                kept.append(regions.half_line(">=", Node("num", value=fmpq(start[1])), start[0]))
        elif start is not None and value.op != "family" and (made := _family(value, *start)):
            value = made
        elif value.op == "family" and condition.value == value.note[1] is not None:
            low = lower_bound(condition, condition.value)
            value = (low is not None and from_value(value, low)) or value
            if low is None:
                kept.append(condition)
        elif value.op == "family" and (low := lower_bound(condition, value.note[0])) is not None:
            value = family(value.args, max(low, value.value[0] or low), *value.note)
        else:
            kept.append(condition)
    made = Node("conditioned", (value, *kept)) if kept else value
    bound = features(value.note).names if value.op == "assigned" and value.note else set[str]()
    letters = tuple(sorted((named | constant) & features(value).names - bound))
    return Node("free", (made,), letters, constant.issuperset(letters)) if letters else made


def _is_naming(condition: Node) -> bool:
    r"""Tell whether a condition only introduces a letter:
    `C \in \mathbb{R}`, `where c is a constant`."""
    if condition.op == "property":
        return condition.value[0] <= BARE
    return condition.op == "assigned" and condition.args[0].value in ("field R", "field C")


def _whole_start(condition: Node) -> tuple[str, int | None] | None:
    """Return a whole-number letter and its first value; None for any other condition."""
    if condition.op == "assigned":
        (field,) = condition.args
        if field.op == "family" and field.args == (PARAMETER,):
            return condition.value, field.value[0]
        if field.note == "field" and field.value in FIELD_STARTS:
            return condition.value, FIELD_STARTS[field.value]
    if condition.op != "property" or condition.value[2] or len(condition.value[1]) != 1:
        return None
    words, (letter,), _ = condition.value
    if not words & {"integer", "natural"} or words - {*_SIGNED, "integer", "natural"}:
        return None
    starts = [_SIGNED[word] for word in words if word in _SIGNED]
    return letter, max(starts) if starts else (1 if "natural" in words else None)


def _is_formula(value: Node, letter: str) -> bool:
    """Tell whether the value is a formula per index, such as `a_n = 2n`
    or `f(n) = 2n`, not a set."""
    if value.op != "assigned":
        return False
    note = value.note
    called = note is not None and note.op in ("opaque", "index") and letter in features(note).names
    return called or str(value.value).endswith(f"_{letter}")


def _family(value: Node, letter: str, start: int | None) -> Node | None:
    """Return the values as a family in `letter`; None if the letter does not occur in them."""
    items = list(value.args) if value.op == "list" else [value]
    if value.op == "assigned" and value.args[0].op == "list":
        items = [Node("assigned", (item,), value.value) for item in value.args[0].args]
    if letter not in features(*items).names:
        return None
    subjects = {item.value for item in items if item.op == "assigned"}
    bare = [item.args[0] if item.op == "assigned" else item for item in items]
    subject = next(iter(subjects)) if len(subjects) == 1 else None
    return family(tuple(put(i, letter, PARAMETER) for i in bare), start, letter, subject)


def lower_bound(condition: Node, letter: str) -> int | None:
    r"""Return the 2 of `k \ge 2`, for a whole number k."""
    if condition.op != "region" or condition.value != letter or len(condition.args) != 1:
        return None
    (low, high), brackets = condition.args[0].args, condition.args[0].value
    if high != regions.INFINITY or low.op != "num" or low.value.q != 1:
        return None
    return int(low.value.p) + (brackets[0] == "(")


def in_list(items: Sequence[Node]) -> Node | None:
    r"""Return items such as `2n + 1, n \ge 0` with the last ones as conditions, or None."""
    items = _each_member([_asproperty_in(item) for item in items])
    bounded = {item.value for item in items if item.op in ("region", "inequality")}
    if (whole := _whole_half_line(items)) is not None:
        return whole
    rest = [item for item in items if not (_is_naming(item) and item.value in bounded)]
    if 0 < len(rest) < len(items):  # x in R, x > 2
        return in_list(rest) or (rest[0] if len(rest) == 1 else None)
    at = len(items)
    while (
        at > max(1, len(items) - MAX_CONDITIONS)
        and is_condition(items[at - 1])
        and items[at - 1].op != "equation"
    ):
        at -= 1
    conditions = items[at:]
    head = items[:at]
    while conditions and not _concerns(conditions[0], head):
        head, conditions = [*head, conditions[0]], conditions[1:]
    if not conditions or any(item.op in ("region", "inequality") for item in head):
        return None
    if not all(_concerns(condition, head) for condition in conditions):
        return None
    value = head[0] if len(head) == 1 else _one_list(head)
    return under(value, conditions)


def _each_member(items: list[Node]) -> list[Node]:
    r"""Split `a, b \in \mathbb{R}` into two memberships."""
    for at in range(len(items) - 1, 1, -1):
        last, before = items[at], items[at - 1]
        is_field = last.op == "assigned" and last.args[0].note == "field"
        if is_field and before.op == "name" and not before.note:
            items[at - 1] = Node("assigned", last.args, before.value, before)
    return items


def _whole_half_line(items: Sequence[Node]) -> Node | None:
    r"""Return `n \ge 3, n \in \mathbb{Z}` as the whole numbers of a half line, or None."""
    if len(items) != 2:
        return None
    for bound, membership in (items, items[::-1]):
        letter = membership.value if membership.op == "assigned" else None
        start, low = _whole_start(membership), lower_bound(bound, str(letter))
        if start is not None and low is not None:
            return family((PARAMETER,), max(low, start[1] or low), "k", letter)
    return None


def _asproperty_in(item: Node) -> Node:
    """Return an item such as `q is a prime` as a property, any other item unchanged."""
    if item.op != "labelled" or item.args[0].op != "name":
        return item
    said = f"{item.args[0].value} {item.value}"
    return in_words(said, _no_formula) or property_in(said) or item


def _no_formula(text: str) -> Node:
    raise Unreadable(f"a formula in a property: {text}")


def _one_list(items: Sequence[Node]) -> Node:
    return Node("list", tuple(items), ",")


def _concerns(condition: Node, items: Sequence[Node]) -> bool:
    """Tell whether the condition is about a letter of the items that none of them defines."""
    if condition.op == "assigned":
        (field,) = condition.args
        if field.note != "field" and (field.op != "family" or field.args != (PARAMETER,)):
            return False
    letters = {condition.value} if condition.op != "inequality" else features(condition).names
    if condition.op == "property":
        letters = set(condition.value[1])
    values = [item.args[0] if item.op == "assigned" else item for item in items]
    given = {item.value for item in items if item.op == "assigned"}
    if any(item.op == "family" and item.note[1] in letters for item in items):
        return condition.op == "region"
    return bool(letters & features(*values).names) and not letters & given


def is_domain(condition: Node, value: Node) -> bool:
    """Tell whether the condition bounds a letter of the value."""
    if condition.op not in ("region", "inequality"):
        return False
    letters = {condition.value} if condition.op == "region" else features(condition).names
    return bool(letters & features(value).names)


def _leaves_out_gaps(condition: Node, value: Node) -> bool:
    r"""Tell whether the condition excludes only points where the value is
    undefined: `1/x, x \ne 0`."""
    try:
        left_out = regions.as_points(regions.complement(condition))
    except Unreadable:
        return False
    if not left_out:
        return False
    bare = value.args[0] if value.op == "assigned" else value
    put_in = [put(bare, condition.value, point) for point in left_out]
    return bare.op in VALUES and all(
        not features(each).names and constant_value(each) is None for each in put_in
    )


def is_natural(condition: Node, value: Node) -> bool:
    """Tell whether the condition is implied: it excludes undefined points, or an
    index starts at 0, 1 or 2."""
    if condition.op != "region":
        return False
    if _leaves_out_gaps(condition, value):
        return True
    if condition.value not in WHOLE_LETTERS:
        return False
    low = lower_bound(condition, condition.value)
    return low is not None and 0 <= low <= 2 and is_domain(condition, value)
