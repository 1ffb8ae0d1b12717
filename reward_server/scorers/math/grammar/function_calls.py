"""Parse named functions: the name, its power or base, and its arguments."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar.cursor import MINUS_ONE, TWO, Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import (
    argument,
    bracket,
    set_braces,
    signs,
)
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import INVERSE
from touchstone_rewards.reward_server.scorers.math.tree import Node, negative, product_of

_BARE_FACTORS = frozenset(["num", "name", "const", "frac", "sqrt", "surd", "*", "{"])


def named_function(cur: Cursor) -> Node:
    """Parse a function's name, its power or base, and its arguments."""
    name = cur.values[cur.at]
    cur.at += 1
    power: Node | None = None
    base: Node | None = None
    while cur.kinds[cur.at] in ("^", "_"):
        cur.at += 1
        if cur.kinds[cur.at - 1] == "^":
            power = cur.rules.exponent(cur)
        else:
            base = cur.rules.exponent(cur)
    if name == "sqrt":
        return plain_root(cur)
    node = applied(cur, name, base)
    if power is None:
        return node
    if power == MINUS_ONE and name in INVERSE:
        return Node("call", node.args, INVERSE[name])
    return Node("pow", (node, power))


def plain_root(cur: Cursor) -> Node:
    cur.deeper()
    inner = cur.rules.primary(cur)
    cur.depth -= 1
    return Node("call", (inner, TWO), "root")


def applied(cur: Cursor, name: str, base: Node | None) -> Node:
    kind = cur.kinds[cur.at]
    if kind == "(" or (kind == "[" and cur.at not in cur.gaps):
        inner = bracket(cur)
        arguments = inner.args if inner.op == "bracket" else (inner,)
    elif kind == "\\{":
        arguments = set_braces(cur).args
    elif kind == "{":
        arguments = (argument(cur),)
        if name == "binom":
            arguments = (*arguments, argument(cur))
    else:
        arguments = (bare_argument(cur),)
    if base is not None:
        return Node("call", (*arguments, base), name)
    return Node("call", arguments, name)


def _is_differential(cur: Cursor) -> bool:
    """Tell whether the `dx` of an integral follows."""
    return cur.integrals > 0 and cur.values[cur.at] == "d" and cur.kinds[cur.at + 1] == "name"


def bare_argument(cur: Cursor) -> Node:
    r"""Parse an argument without brackets, `\sin 2x`: factors up to the next
    function, sign or bracket."""
    cur.deeper()
    sign = signs(cur)
    factors = [cur.rules.factor(cur)]
    while (kind := cur.kinds[cur.at]) in _BARE_FACTORS and not _is_differential(cur):
        if kind == "*" and cur.kinds[cur.at + 1] not in _BARE_FACTORS:
            break
        if kind == "*":
            cur.at += 1
        factors.append(cur.rules.factor(cur))
    if cur.kinds[cur.at] == "/" and cur.kinds[cur.at + 1] == "num" and len(factors) == 1:
        cur.at += 1
        factors = [Node("div", (factors[0], cur.rules.factor(cur)))]
    cur.depth -= 1
    node = product_of(factors)
    return negative(node) if sign < 0 else node
