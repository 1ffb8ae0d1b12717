r"""Turn a parsed tree into the answer it states: names are set aside, ± and sets are expanded.

`k = 3` states 3, `x \le 2` a half line, `1 \pm \sqrt2` two numbers. The name is kept on the
`assigned` node, so that `x = 3` and `y = 3` can be distinguished if needed. Further ops:

    assigned   args: the value; value: the name             equation     args: the two sides
    inequality args: the two sides; value: < <= or !=       every other op is as in `tree`
"""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.answers.conditions import (
    in_list,
    is_condition,
    under,
)
from touchstone_rewards.reward_server.scorers.math.answers.plus_minus import has_signs, sign_choices
from touchstone_rewards.reward_server.scorers.math.answers.relations import (
    each_named,
    name_of,
    relation,
)
from touchstone_rewards.reward_server.scorers.math.answers.sequences import written_out
from touchstone_rewards.reward_server.scorers.math.answers.whole_numbers import (
    bounded_field,
    residues,
    without_subject,
)
from touchstone_rewards.reward_server.scorers.math.grammar.units import Unit, make_units
from touchstone_rewards.reward_server.scorers.math.numbers import regions
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import constant_value
from touchstone_rewards.reward_server.scorers.math.numbers.vectors import folded, unit_vectors
from touchstone_rewards.reward_server.scorers.math.tree import (
    VALUES,
    Node,
    Unreadable,
    contains,
    sum_of,
)

# Items that carry their own name: a name before the first item does not apply to them.
_NAMING = frozenset(["assigned", "equation", "inequality", "region", "text"])

_MONEY = frozenset(["quantity"])
_WORKED_OUT = frozenset(["pm", "mp", "matrix", "bracket", "quantity"])


def shape(node: Node) -> Node:
    """Return the answer that `node` states.

    Raises:
        Unreadable: it states none: `1 = 1`, a hedge, an operator without a meaning here.
    """
    return _RULES.get(node.op, _other)(node)


def _other(node: Node) -> Node:
    """Return an expression unchanged, unless it has ± signs or arrays to expand."""
    if not contains(node, _WORKED_OUT):
        return (unit_vectors(node) or node) if node.op == "add" else node
    if has_signs(node):
        return _choices(node)
    return _amount(node) or node if contains(node, _MONEY) else _array(node)


def _amount(node: Node) -> Node | None:
    r"""Return `\$5 \times 2` or `\$5 + \$3` as one quantity, or None."""
    if node.op == "quantity":
        return node
    amounts = [_amount(part) for part in node.args]
    found = [amount for amount in amounts if amount is not None]
    if not found or node.op not in ("mul", "div", "neg", "add"):
        return None
    if len(found) > 1 and (node.op != "add" or any(a.value != found[0].value for a in found)):
        return None
    if len(found) < len(amounts) and (node.op == "add" or (node.op == "div" and not amounts[0])):
        return None
    bare = [part if a is None else a.args[0] for part, a in zip(node.args, amounts, strict=True)]
    return Node("quantity", (Node(node.op, tuple(bare), node.value, node.note),), found[0].value)


def _array(node: Node) -> Node:
    made = folded(node)
    return shape(made) if made.op in ("matrix", "bracket") else made


def _choices(node: Node) -> Node:
    return Node("list", tuple(map(shape, sign_choices(node))), "and", "signs")


def _list(node: Node) -> Node:
    """Return the answer of a list: a name before the first item applies to all items, inequalities
    of one variable become one region, and nested lists (from ±) are flattened."""
    items = [shape(item) for item in _each_unequal(node.args)]
    if (conditioned := in_list(_spliced(items))) is not None:
        return conditioned
    if any(item.op == "region" for item in items):
        items = [_point_of(item) for item in items]
    if all(item.op == "region" and item.value for item in items):
        return _combined(items, node.value)
    flat = _spliced(items)
    if (made := written_out(flat)) is not None:
        return made
    if node.value == "and" and (compound := _one_quantity(flat)) is not None:
        return compound
    if flat[0].op == "assigned" and all(item.op not in _NAMING for item in flat[1:]):
        named = flat[0]
        return Node(
            "assigned", (Node("list", (named.args[0], *flat[1:]), node.value),), named.value
        )
    return Node("list", tuple(flat), node.value)


def _logic(node: Node) -> Node:
    """Combine relations of variables into a region or a list; anything else is a formula."""
    items = tuple(map(shape, node.args))
    if node.value != "not" and all(item.op in ("assigned", "region") for item in items):
        return _list(Node("list", node.args, node.value))
    return Node("logic", items, node.value)


def _each_unequal(items: tuple[Node, ...]) -> list[Node]:
    r"""Split `x \ne 0, 1` into one relation per value."""
    first, *rest = items
    if first.op != "relation" or first.value != ("!=",):
        return list(items)
    if any(item.op not in VALUES or constant_value(item) is None for item in rest):
        return list(items)
    return [first, *(Node("relation", (first.args[0], item), ("!=",)) for item in rest)]


def _spliced(items: list[Node]) -> list[Node]:
    """Flatten lists among the items, such as those from ±."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.args if item.op == "list" else each_named(item))
    return flat


def _congruence(node: Node) -> Node:
    r"""Return `n \equiv 1, 2 \pmod 5` as the set of whole numbers with these remainders."""
    subject, *classes, modulus = node.args
    negated = node.value == "not"
    spread: list[Node] = []
    for part in classes:
        made = shape(part)
        spread.extend(made.args if made.op == "list" else (made,))
    return residues(subject, spread, modulus, negated)


def _one_quantity(items: list[Node]) -> Node | None:
    """Return `3 hours and 30 minutes` as one quantity, or None."""
    if len(items) != 2 or any(item.op != "quantity" for item in items):
        return None
    units = _like_units(items[0], items[1])
    if units is None or units[0].factor <= units[1].factor:
        return None
    return _compound(Node("compound", tuple(items)))


def _like_units(first: Node, second: Node) -> tuple[Unit, Unit] | None:
    """Return units of the same dimension for two quantities, or None."""
    return next(
        (
            (one, other)
            for one in make_units(first.value)
            for other in make_units(second.value)
            if one.dimensions == other.dimensions
        ),
        None,
    )


def _point_of(item: Node) -> Node:
    """Return `a = 1` among inequalities in a as a point of the real line."""
    if item.op != "assigned" or not item.value or constant_value(item.args[0]) is None:
        return item
    return regions.region(regions.points(item.args).args, item.value)


def _combined(items: list[Node], joint: str) -> Node:
    if len({item.value for item in items}) != 1:
        return Node("list", tuple(items), joint)
    combine = regions.intersection if joint == "and" else regions.union
    if joint == ",":
        overlap = regions.intersection(items[0], items[1]).args if len(items) == 2 else ()
        combine = regions.intersection if overlap else regions.union
    total = items[0]
    for item in items[1:]:
        total = combine(total, item)
    return total


_COMBINE = {
    "union": regions.union,
    "intersection": regions.intersection,
    "difference": regions.difference,
}


def _set_algebra(node: Node) -> Node:
    left, right = shape(node.args[0]), shape(node.args[1])
    if left.op == "assigned" and left.args[0].op in ("bracket", "set"):
        left = regions.as_region(left)
    if left.op == right.op == "name" and not (left.note or right.note):
        return Node("related", (left, right), node.op)
    combined = _COMBINE[node.op](regions.as_region(left), regions.as_region(right))
    found = regions.as_points(combined)
    return Node("set", found) if found is not None and combined.value is None else combined


def _set(node: Node) -> Node:
    items: list[Node] = []
    for item in node.args:
        made = shape(item)
        items.extend(made.args if made.op == "list" else (made,))
    if (listed := written_out(items)) is not None:
        return Node("set", listed.args) if listed.op == "list" else listed
    return Node("set", tuple(items))


def _set_builder(node: Node) -> Node:
    element, condition = node.args
    inner = shape(condition)
    if (whole := _whole_builder(element, inner)) is not None:
        return whole
    if element.op == "relation" and element.value == ("in",):  # {x ∈ R | …}
        field, element = element.args[1], element.args[0]
        if field.value in ("field Z", "field N", "Z", "N") and inner.op == "region":
            return Node("set", regions.whole_numbers(inner, str(field.value)[-1] == "N"))
        if field.value not in ("field R", "R"):
            raise Unreadable("a set builder over another field")
    if inner.op == "region" and inner.value == name_of(element):
        return regions.region(inner.args)
    if inner.op == "assigned" and inner.value == name_of(element):
        value = inner.args[0]
        if value.op == "list":
            return Node("set", value.args)
        return value if value.op == "set" else Node("set", (value,))
    return Node("setof", (element, inner))


def _whole_builder(element: Node, inner: Node) -> Node | None:
    """Return `{x | x = 2k, k in Z}` or `{2k : k in Z}` as a family, or None."""
    if element.op == "relation" and element.value == ("in",) and inner.op == "family":
        element, field = element.args
        return without_subject(inner, name_of(element)) if field.value == "field Z" else None
    if inner.op == "family":
        return without_subject(inner, name_of(element))
    if element.op == "relation" or not is_condition(inner):
        return None
    made = under(shape(element), [inner])
    return made if made.op == "family" else None


def _bracket(node: Node) -> Node:
    if has_signs(node):
        return _choices(node)
    return Node("bracket", tuple(map(shape, node.args)), node.value)


def _matrix(node: Node) -> Node:
    return Node("matrix", tuple(map(shape, node.args)), node.value)


def _labelled(node: Node) -> Node:
    return Node("labelled", (shape(node.args[0]),), node.value, node.note)


def _quantity(node: Node) -> Node:
    inner = shape(node.args[0])
    if inner.op == "assigned":
        return Node(
            "assigned", (Node("quantity", inner.args, node.value),), inner.value, inner.note
        )
    return Node("quantity", (inner,), node.value)


def _group(node: Node) -> Node:
    return shape(node.args[0])


def _compound(node: Node) -> Node:
    """Return `1 hour 30 minutes` as a sum in the first unit."""
    first, second = node.args
    if second.op not in ("quantity", "compound"):
        raise Unreadable("two numbers side by side")
    rest = second if second.op == "quantity" else _compound(second)
    units = _like_units(first, rest)
    if units is None:
        raise Unreadable("two quantities side by side")
    ratio = Node("num", value=units[1].factor / units[0].factor)
    return Node(
        "quantity", (sum_of([first.args[0], Node("mul", (ratio, rest.args[0]))]),), first.value
    )


def _sum(node: Node) -> Node:
    r"""Return a sum of values, or for `\mathbb{R} - \{0\}` a difference of sets."""
    if node.args[0].op in ("set", "union") or node.args[0].note == "field":
        minus = node.args[1]
        if len(node.args) == 2 and minus.op == "neg":
            return _set_algebra(Node("difference", (node.args[0], minus.args[0])))
    return _other(node)


_RULES: dict[str, Callable[[Node], Node]] = {
    "add": _sum,
    "compound": _compound,
    "congruence": _congruence,
    "bounded field": bounded_field,
    "list": _list,
    "logic": _logic,
    "relation": lambda node: relation(node, shape),
    "union": _set_algebra,
    "intersection": _set_algebra,
    "difference": _set_algebra,
    "set": _set,
    "setof": _set_builder,
    "bracket": _bracket,
    "matrix": _matrix,
    "labelled": _labelled,
    "quantity": _quantity,
    "group": _group,
}
