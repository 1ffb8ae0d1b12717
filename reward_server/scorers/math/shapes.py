"""A tree in, the answer it states out: names set aside, signs and sets worked out.

`k = 3` states 3, `x \\le 2` a half line, `1 \\pm \\sqrt2` two numbers. What a name was is kept on
the `assigned` node, so that `x = 3` and `y = 3` can be told apart where that matters. Further ops:

    assigned   args: the value; value: the name             equation     args: the two sides
    inequality args: the two sides; value: < <= or !=       every other op is as in `tree`
"""

from __future__ import annotations

from flint import fmpq

from reward_server.scorers.math import regions
from reward_server.scorers.math.decide import constant_value, features, same_value
from reward_server.scorers.math.tree import Node, Unreadable, sum_of
from reward_server.scorers.math.units import make_unit

MAX_SIGNS = 4
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_ORDERINGS = frozenset(["<", ">", "<=", ">="])


def shape(node: Node) -> Node:
    """The answer that `node` states.

    Raises:
        Unreadable: it states none: `1 = 1`, a hedge, an operator without a meaning here.
    """
    rule = _RULES.get(node.op)
    if rule is not None:
        return rule(node)
    if _has_signs(node):
        return _sign_choices(node)
    return node


# ---- ± and lists


def _has_signs(node: Node) -> bool:
    pending = [node]
    while pending:
        part = pending.pop()
        if part.op in ("pm", "mp"):
            return True
        pending.extend(part.args)
    return False


def _count_signs(node: Node) -> int:
    return (node.op in ("pm", "mp")) + sum(map(_count_signs, node.args))


def _with_signs(node: Node, signs: list[bool]) -> Node:
    """`node` with its next ± signs taken from `signs`; ∓ goes against the sign before it."""
    if node.op in ("pm", "mp"):
        before = [_with_signs(part, signs) for part in node.args[:-1]]
        positive = signs.pop()
        last = _with_signs(node.args[-1], signs)
        last = last if positive else Node("neg", (last,))
        return Node("add", (*before, last)) if before else last
    if not node.args:
        return node
    return Node(
        node.op, tuple(_with_signs(part, signs) for part in node.args), node.value, node.note
    )


def _sign_choices(node: Node) -> Node:
    count = _count_signs(node)
    if count > MAX_SIGNS:
        raise Unreadable(f"more than {MAX_SIGNS} ± signs")
    paired = _has_op(node, "mp") and _has_op(node, "pm")
    choices: list[Node] = []
    for number in range(2 if paired else 1 << count):
        if paired:
            choices.append(_paired(node, number == 0))
        else:
            choices.append(_with_signs(node, [bool(number >> bit & 1) for bit in range(count)]))
    return Node("list", tuple(shape(choice) for choice in choices), "and")


def _has_op(node: Node, op: str) -> bool:
    return node.op == op or any(_has_op(part, op) for part in node.args)


def _paired(node: Node, upper: bool) -> Node:
    """Where ± and ∓ stand together, all upper or all lower signs."""
    parts = tuple(_paired(part, upper) for part in node.args)
    if node.op not in ("pm", "mp"):
        return Node(node.op, parts, node.value, node.note) if parts else node
    last = parts[-1] if (node.op == "pm") == upper else Node("neg", (parts[-1],))
    return Node("add", (*parts[:-1], last)) if len(parts) > 1 else last


def _list(node: Node) -> Node:
    """Items: a name before the first holds for all; inequalities of one variable are one region;
    items that are lists themselves (±) are spliced in."""
    items = [shape(item) for item in node.args]
    if any(item.op == "region" for item in items):
        items = [_point_of(item) for item in items]
    if all(item.op == "region" and item.value for item in items):
        return _combined(items, node.value)
    flat: list[Node] = []
    for item in items:
        flat.extend(item.args if item.op == "list" else (item,))
    if (family := _family(flat)) is not None:
        return family
    first = flat[0]
    if first.op == "assigned" and all(item.op != "assigned" for item in flat[1:]):
        if all(item.op not in ("equation", "inequality", "region", "text") for item in flat[1:]):
            return Node(
                "assigned", (Node("list", (first.args[0], *flat[1:]), node.value),), first.value
            )
    return Node("list", tuple(flat), node.value)


def _family(items: list[Node]) -> Node | None:
    """`k\\pi, k \\in \\mathbb{Z}`: the items before a field's membership, with the parameter's
    name set aside; None where the last item is no such membership."""
    last = items[-1]
    if last.op != "assigned" or last.args[0].note != "field" or len(items) < 2:
        return None
    parameter = Node("name", value="parameter")
    renamed = tuple(_put(item, last.value, parameter) for item in items[:-1])
    bare = tuple(item.args[0] if item.op == "assigned" else item for item in renamed)
    return Node("family", bare, last.args[0].value, last.value)


def _point_of(item: Node) -> Node:
    """`a = 1` among inequalities in a: a point of the line."""
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


# ---- relations


def _relation(node: Node) -> Node:
    sides, operators = list(node.args), list(node.value)
    if "~" in operators:  # what stands before ≈ is the answer, what follows its size
        at = operators.index("~")
        sides, operators = sides[: at + 1], operators[:at]
        if not operators:
            return shape(sides[0])
    if "in" in operators or "notin" in operators:
        return _membership(sides, operators)
    if set(operators) == {"="}:
        return _equations(sides)
    if set(operators) <= _ORDERINGS | {"="} or operators == ["!="]:
        return _inequalities(sides, operators)
    raise Unreadable(f"a relation with {' '.join(operators)}")


def _membership(sides: list[Node], operators: list[str]) -> Node:
    if operators != ["in"] or not name_of(sides[0]):
        raise Unreadable("a membership of something else")
    name = name_of(sides[0])
    if sides[1].op == "name" and sides[1].value in ("Z", "N", "Q", "R"):
        sides[1] = Node("name", value=f"field {sides[1].value}", note="field")
    inner = shape(sides[1])
    if inner.op == "bracket" and len(inner.args) == 2:
        inner = as_region(inner)
    if inner.op == "region":
        return regions.region(inner.args, name)
    return Node("assigned", (inner,), name)


def name_of(node: Node) -> str | None:
    """What `node` names, if it is a name: `x`, `f(x)`, `(p, q)`, `a_3`, `A:B`, `\\angle A`."""
    if node.op == "name":
        return node.value
    if node.op in ("opaque", "index"):
        return node.value
    if node.op == "ratio" and all(part.op == "name" for part in node.args):
        return ":".join(part.value for part in node.args)
    if node.op in ("bracket", "list") and all(name_of(part) for part in node.args):
        return ",".join(str(name_of(part)) for part in node.args)
    if node.op == "div" and all((name_of(part) or "").startswith("d") for part in node.args):
        return f"{name_of(node.args[0])}/{name_of(node.args[1])}"
    if node.op == "mul" and len(node.args) <= 4 and all(part.op == "name" for part in node.args):
        return "".join(part.value for part in node.args)
    return None


def _equations(sides: list[Node]) -> Node:
    """`x = 5` assigns; `\\sqrt4 = 2` is a value with its working; `x + y = 1` is an equation."""
    last = sides[-1]
    named = [side for side in sides[:-1] if name_of(side)]
    if len(named) == len(sides) - 1:
        inner = shape(last)
        return Node("assigned", (inner,), name_of(sides[0]), sides[0])
    if name_of(last) and len(sides) == 2:
        return Node("assigned", (shape(sides[0]),), name_of(last), last)
    if named and name_of(sides[0]):
        _check_chain(sides[1:])
        return Node("assigned", (shape(last),), name_of(sides[0]), sides[0])
    if not any(features(side).names for side in sides):
        return _check_chain(sides)
    if len(sides) == 2:
        return Node("equation", tuple(sides))
    raise Unreadable("a chain of equations")


def _check_chain(sides: list[Node]) -> Node:
    """The last of some equal constants; parts that nobody can work out are believed.

    Raises:
        Unreadable: two of them differ, or all are plain literals: `1 = 1` states nothing.
    """
    if all(side.op in ("num", "neg") for side in sides) and len(sides) > 1:
        raise Unreadable("an identity of numbers")
    last = sides[-1]
    for side in sides[:-1]:
        if constant_value(side) is not None and constant_value(last) is not None:
            if not same_value(side, last, 1)[0]:
                raise Unreadable("an equation that does not hold")
    return shape(last)


def _inequalities(sides: list[Node], operators: list[str]) -> Node:
    """One variable against constants is a region; anything else one inequality."""
    names = {name for side in sides for name in features(side).names}
    if len(names) == 1 and (variable := next(iter(names))):
        parts = [
            _solved(left, operator, right, variable)
            for left, operator, right in zip(sides, operators, sides[1:], strict=False)
        ]
        if all(part is not None for part in parts):
            total = parts[0]
            for part in parts[1:]:
                total = regions.intersection(total, part) if total and part else None
            if total is not None:
                return regions.canonical(total)
    middle = sides[1] if len(sides) == 3 else None
    if (
        middle is not None
        and (name := name_of(middle))
        and name not in features(sides[0], sides[2]).names
    ):
        return _between(sides, operators, name)
    if len(sides) == 2:
        return _inequality(sides[0], operators[0], sides[1])
    raise Unreadable("a chain of inequalities")


def _between(sides: list[Node], operators: list[str], name: str) -> Node:
    """`a < x < b` with ends that are not numbers."""
    low, high = sides[0], sides[2]
    if operators[0] in (">", ">="):
        low, high = high, low
        operators = [_FLIPPED[operators[1]], _FLIPPED[operators[0]]]
    opening = "[" if operators[0] == "<=" else "("
    closing = "]" if operators[1] == "<=" else ")"
    return regions.region((regions.piece(low, high, opening + closing),), name)


def _inequality(left: Node, operator: str, right: Node) -> Node:
    if operator in (">", ">="):
        left, right, operator = right, left, _FLIPPED[operator]
    name = name_of(left) if name_of(left) and left.op == "name" else None
    if name and operator != "!=" and name not in features(right).names:
        return regions.half_line(operator, shape(right), name)
    if right.op == "name" and operator != "!=" and right.value not in features(left).names:
        return regions.half_line(_FLIPPED[operator], shape(left), right.value)
    return Node("inequality", (left, right), operator)


def _solved(left: Node, operator: str, right: Node, variable: str) -> Node | None:
    """The numbers that satisfy a relation that is linear in its only variable, or None."""
    if left.op == "name" and not features(right).names:
        return regions.half_line(operator, right, variable)
    if right.op == "name" and not features(left).names:
        return regions.half_line(_FLIPPED[operator], left, variable)
    if left.op == "call" and left.value == "abs" and not features(right).names:
        return _absolute(left.args[0], operator, right, variable)
    line = Node("add", (left, Node("neg", (right,))))
    at = [constant_value(_put(line, variable, place)) for place in _PLACES]
    exact = [value for value in at if isinstance(value, fmpq)]
    if len(exact) < len(at):
        return None
    zero, slope = exact[0], exact[1] - exact[0]
    straight = (zero + slope * place.value for place in _PLACES)
    if slope == 0 or any(a != b for a, b in zip(straight, exact, strict=True)):
        return None
    end = Node("num", value=-zero / slope)
    return regions.half_line(operator if slope > 0 else _FLIPPED[operator], end, variable)


def _absolute(inner: Node, operator: str, size: Node, variable: str) -> Node | None:
    """|u| < c as -c < u < c, and |u| > c as what lies outside."""
    below = "<" if operator in ("<", ">=") else "<="
    low = _solved(inner, ">" if below == "<" else ">=", Node("neg", (size,)), variable)
    high = _solved(inner, below, size, variable)
    if low is None or high is None or operator not in _ORDERINGS:
        return None
    between = regions.intersection(low, high)
    return between if operator in ("<", "<=") else regions.complement(between)


_PLACES = [Node("num", value=fmpq(p, q)) for p, q in ((0, 1), (1, 1), (-7, 3), (11, 2), (-40, 1))]


def _put(node: Node, variable: str, value: Node) -> Node:
    """`node` with something else for its variable."""
    if node.op == "name":
        return value if node.value == variable else node
    if not node.args:
        return node
    return Node(
        node.op, tuple(_put(part, variable, value) for part in node.args), node.value, node.note
    )


# ---- sets


def as_region(node: Node) -> Node:
    """A bracket, a set or a number field as a region of the line.

    Raises:
        Unreadable: it is none of these.
    """
    if node.op == "region":
        return node
    if node.op == "bracket" and len(node.args) == 2:
        return regions.region((regions.piece(node.args[0], node.args[1], node.value),))
    if node.op == "set":
        return regions.points(node.args)
    if node.op == "assigned":
        bare = node.args[0]
        inner = regions.points((bare,)) if constant_value(bare) is not None else as_region(bare)
        return regions.region(inner.args, node.value)
    if node.op == "name" and node.value == "field R":
        return regions.WHOLE_LINE
    raise Unreadable(f"{node.op} is no region")


_COMBINE = {
    "union": regions.union,
    "intersection": regions.intersection,
    "difference": regions.difference,
}


def _set_algebra(node: Node) -> Node:
    left, right = shape(node.args[0]), shape(node.args[1])
    if left.op == "assigned" and left.args[0].op in ("bracket", "set"):
        left = as_region(left)
    combined = _COMBINE[node.op](as_region(left), as_region(right))
    found = regions.as_points(combined)
    return Node("set", found) if found is not None and combined.value is None else combined


def _set(node: Node) -> Node:
    items: list[Node] = []
    for item in node.args:
        made = shape(item)
        items.extend(made.args if made.op == "list" else (made,))
    return Node("set", tuple(items))


def _set_builder(node: Node) -> Node:
    element, condition = node.args
    inner = shape(condition)
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


def _bracket(node: Node) -> Node:
    if _has_signs(node):
        return _sign_choices(node)
    return Node("bracket", tuple(map(shape, node.args)), node.value)


def _matrix(node: Node) -> Node:
    return Node("matrix", tuple(map(shape, node.args)), node.value)


def _labelled(node: Node) -> Node:
    return Node("labelled", (shape(node.args[0]),), node.value)


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
    """`1 hour 30 minutes`: the sum, in the first unit."""
    first, second = node.args
    if second.op not in ("quantity", "compound"):
        raise Unreadable("two numbers side by side")
    rest = second if second.op == "quantity" else _compound(second)
    units = [make_unit(first.value), make_unit(rest.value)]
    if units[0] is None or units[1] is None or units[0].dimensions != units[1].dimensions:
        raise Unreadable("two quantities side by side")
    ratio = Node("num", value=units[1].factor / units[0].factor)
    return Node(
        "quantity", (sum_of([first.args[0], Node("mul", (ratio, rest.args[0]))]),), first.value
    )


def _sum(node: Node) -> Node:
    """A sum of values; `\\mathbb{R} - \\{0\\}` is a difference of sets."""
    if node.args[0].op in ("set", "union") or node.args[0].note == "field":
        minus = node.args[1]
        if len(node.args) == 2 and minus.op == "neg":
            return _set_algebra(Node("difference", (node.args[0], minus.args[0])))
    return _sign_choices(node) if _has_signs(node) else node


_RULES = {
    "add": _sum,
    "compound": _compound,
    "list": _list,
    "relation": _relation,
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
