"""Parse constructs that span several values: sums and products with bounds, matrices, cases."""

from __future__ import annotations

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar.atoms import made_environment
from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import argument, inside
from touchstone_rewards.reward_server.scorers.math.tree import (
    Node,
    Unreadable,
    negative,
    product_of,
    sum_of,
)

MAX_CELLS = 144


def big_operator(cur: Cursor) -> Node:
    r"""Parse `\sum_{k=1}^{n}` and its body; an operator without a
    numeric value stays unevaluated."""
    kind = cur.kinds[cur.at]
    cur.at += 1
    below = above = None
    while cur.kinds[cur.at] in ("^", "_"):
        cur.at += 1
        if cur.kinds[cur.at - 1] == "^":
            above = cur.rules.exponent(cur)
        else:
            below = limits_below(cur)
    cur.deeper()
    bound = cur.bound
    if below is not None and below.op == "relation" and below.args[0].value:
        cur.bound = (*bound, str(below.args[0].value))
    cur.integrals += kind == "int"
    body = cur.rules.product(cur) if kind != "int" else integrand(cur)
    cur.integrals -= kind == "int"
    cur.bound = bound
    cur.depth -= 1
    bounded = above is not None and not (above.op == "const" and above.value == "inf")
    if kind in ("sum", "prod") and bounded and above and below and _starts(below):
        return Node(kind, (below.args[1], above, body), str(below.args[0].value))
    found = _numeric(kind, below, above, body)
    if found is not None:
        return found
    parts = tuple(part for part in (below, above, body) if part is not None)
    return Node("other", parts, kind)


def _numeric(kind: str, below: Node | None, above: Node | None, body: Node) -> Node | None:
    """Return a definite integral, a limit or an infinite sum; None if
    one of its parts is missing."""
    if below is None:
        return None
    if kind == "int" and above is not None and (split := _differential(body)) is not None:
        return Node("integral", (below, above, split[0]), split[1])
    if kind == "lim" and below.op == "relation" and below.value == ("->",):
        name, place = below.args
        place, side = _approached(place)
        return Node("limit", (place, body), (name.value, side)) if name.op == "name" else None
    if kind == "sum" and above is not None and _starts(below):
        return Node("infinite sum", (below.args[1], body), str(below.args[0].value))
    return None


def _approached(place: Node) -> tuple[Node, str]:
    """Return the point of a limit, with its `^+` or `^-` removed, and that side."""
    if place.op == "pow" and place.args[1].op == "name" and place.args[1].value in ("+", "-"):
        return place.args[0], place.args[1].value
    return place, ""


def integrand(cur: Cursor) -> Node:
    """Parse the body of an integral: terms up to the first one that ends in `dx`."""
    parts = [cur.rules.product(cur)]
    while _differential(parts[-1]) is None and cur.kinds[cur.at] in ("+", "-"):
        negated = cur.kinds[cur.at] == "-"
        cur.at += 1
        term = cur.rules.product(cur)
        parts.append(negative(term) if negated else term)
    if len(parts) == 1 or (last := _differential(parts[-1])) is None:
        return sum_of(parts)
    whole = sum_of([*parts[:-1], last[0]])
    return Node("mul", (whole, Node("name", value="d"), Node("name", value=last[1])))


def _differential(node: Node) -> tuple[Node, str] | None:
    """Split a product that ends in `dx` into its other factors and `x`."""
    if node.op == "neg" and (inner := _differential(node.args[0])) is not None:
        return negative(inner[0]), inner[1]
    if node.op == "div" and (inner := _differential(node.args[0])) is not None:
        return Node("div", (inner[0], node.args[1])), inner[1]
    if node.op != "mul" or len(node.args) < 2:
        return None
    *before, d, name = node.args
    if d != Node("name", value="d") or name.op != "name":
        return None
    return (product_of(before) if before else Node("num", value=fmpq(1))), name.value


def _starts(below: Node) -> bool:
    """Parse the start of an index: `k = 1`."""
    return (
        below.op == "relation" and below.value == ("=",) and below.args[0].op in ("name", "const")
    )


def limits_below(cur: Cursor) -> Node:
    if cur.kinds[cur.at] != "{":
        return argument(cur)
    cur.at += 1
    if cur.kinds[cur.at] == "const":
        cur.bound = (*cur.bound, cur.values[cur.at])
    inner = inside(cur)
    cur.take("}")
    return inner


def environment(cur: Cursor) -> Node:
    r"""Parse `\begin{…}…\end{…}`, row by row."""
    name = cur.values[cur.at]
    cur.at += 1
    rows: list[list[Node]] = [[]]
    while (kind := cur.kinds[cur.at]) != "end_env":
        if kind == "end":
            raise cur.fail("an environment without an end")
        if kind in ("&", "\\\\", ".", "quad"):
            cur.at += 1
            if kind == "\\\\":
                rows.append([])
            continue
        rows[-1].append(cell(cur))
        if sum(map(len, rows)) > MAX_CELLS:
            raise Unreadable(f"more than {MAX_CELLS} cells")
    if cur.values[cur.at] != name:
        raise cur.fail(f"\\end{{{name}}} expected")
    cur.at += 1
    return made_environment(name, [row for row in rows if row])


def cell(cur: Cursor) -> Node:
    """Parse one cell of a matrix or line of cases; its bars and separators are
    independent of the outside."""
    bars, cur.bars = cur.bars, False
    cur.deeper()
    items = [cur.rules.clause(cur)]
    while cur.kinds[cur.at] in (",", ";", "and", "or", "quad"):
        cur.rules.joint(cur)
        if cur.kinds[cur.at] in ("&", "\\\\", "end_env", "."):
            break
        items.append(cur.rules.clause(cur))
    cur.depth -= 1
    cur.bars = bars
    return items[0] if len(items) == 1 else Node("list", tuple(items), ",")
