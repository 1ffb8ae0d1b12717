"""What spans several values: sums and products with bounds, matrices, cases."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.atoms import made_environment
from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import inside
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

MAX_CELLS = 144


def big_operator(cur: Cursor) -> Node:
    """`\\sum_{k=1}^{n}` and what it runs over; a limit or an integral is kept unread."""
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
    body = cur.rules.product(cur)
    cur.bound = bound
    cur.depth -= 1
    bounded = above is not None and not (above.op == "const" and above.value == "inf")
    if kind in ("sum", "prod") and bounded and above and below and _starts(below):
        return Node(kind, (below.args[1], above, body), str(below.args[0].value))
    parts = tuple(part for part in (below, above, body) if part is not None)
    return Node("other", parts, kind)


def _starts(below: Node) -> bool:
    """`k = 1`: where an index starts."""
    return (
        below.op == "relation" and below.value == ("=",) and below.args[0].op in ("name", "const")
    )


def limits_below(cur: Cursor) -> Node:
    if cur.kinds[cur.at] != "{":
        return cur.rules.exponent(cur)
    cur.at += 1
    if cur.kinds[cur.at] == "const":
        cur.bound = (*cur.bound, cur.values[cur.at])
    inner = inside(cur)
    cur.take("}")
    return inner


def environment(cur: Cursor) -> Node:
    """`\\begin{…}…\\end{…}`, row by row."""
    name = cur.values[cur.at]
    cur.at += 1
    rows: list[list[Node]] = [[]]
    while (kind := cur.kinds[cur.at]) != "end_env":
        if kind == "end":
            raise cur.fail("an environment that does not end")
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
    """One cell of a matrix or line of cases: its bars and separators are its own."""
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
