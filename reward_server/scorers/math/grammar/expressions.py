"""Expressions by precedence climbing: sets, sums, products, powers, then what stands alone."""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.scorers.math.grammar import blocks, function_calls, primaries
from touchstone_rewards.reward_server.scorers.math.grammar.atoms import base_literal
from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import (
    bare_number,
    signs,
    subscript,
)
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import NUMBER_WORDS
from touchstone_rewards.reward_server.scorers.math.tree import Node, negative, product_of, sum_of

# What may begin a factor without a sign before it: 2x, 2(x+1), 2\sqrt{3}.
FACTOR_STARTS = frozenset(
    ["num", "repeating", "name", "const", "func", "(", "[", "frac", "sqrt", "surd", "cbrt", "{",
     "accent", "binom", "lfloor", "lceil", "sum", "prod", "int", "lim", "begin", "empty", "field",
     "dots"]
)  # fmt: skip
_ORDINALS = frozenset(["th", "st", "nd", "rd"])
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}


def set_terms(cur: Cursor) -> Node:
    """Unions, intersections and differences of sums."""
    left = terms(cur)
    while (kind := cur.kinds[cur.at]) in _SET_OPERATIONS:
        cur.at += 1
        left = Node(_SET_OPERATIONS[kind], (left, terms(cur)))
    return left


def terms(cur: Cursor) -> Node:
    parts: list[Node] = []
    while True:
        kind = cur.kinds[cur.at]
        if kind in ("+", "-"):
            sign = signs(cur)
            term = product(cur)
            parts.append(negative(term) if sign < 0 else term)
        elif kind in ("pm", "mp"):
            cur.at += 1
            before = (sum_of(parts),) if parts else ()
            parts = [Node(kind, (*before, product(cur)))]
        elif not parts:
            parts.append(product(cur))
        else:
            return sum_of(parts)


def product(cur: Cursor) -> Node:
    left = factor(cur)
    factors = [left]
    while True:
        kind = cur.kinds[cur.at]
        if kind == "*" and cur.kinds[cur.at + 1] != "unit":
            cur.at += 1
            factors.append(signed_factor(cur))
        elif kind == "/" and cur.kinds[cur.at + 1] != "unit":
            cur.at += 1
            factors = [Node("div", (product_of(factors), signed_factor(cur)))]
        elif kind == "mod":
            cur.at += 1
            factors = [Node("mod", (product_of(factors), signed_factor(cur)))]
        elif kind in FACTOR_STARTS or (kind == "|" and not cur.bars):
            if kind == "num" and factors[-1].op == "num":
                raise cur.fail("two numbers side by side")
            factors.append(factor(cur))
        elif kind == "over":
            cur.at += 1
            return Node("div", (product_of(factors), _product_below(cur)))
        elif kind == "choose":
            cur.at += 1
            return Node("call", (product_of(factors), _product_below(cur)), "binom")
        else:
            return product_of(factors)


def _product_below(cur: Cursor) -> Node:
    cur.deeper()
    below = product(cur)
    cur.depth -= 1
    return below


def signed_factor(cur: Cursor) -> Node:
    sign = signs(cur)
    node = factor(cur)
    return negative(node) if sign < 0 else node


def factor(cur: Cursor) -> Node:
    """A primary with its powers, factorials, percent signs and degrees."""
    node = primary(cur)
    while True:
        kind = cur.kinds[cur.at]
        if kind == "^":
            node = raised(cur, node)
        elif kind == "!" and cur.kinds[cur.at + 1] != "=":
            cur.at += 1
            node = Node("fact", (node,))
        elif kind in ("%", "degree"):
            cur.at += 1
            node = Node("percent", (node,)) if kind == "%" else degrees(cur, node)
        elif kind == "_" and node.op == "num":
            node = in_base(cur, node)
        else:
            return node


def degrees(cur: Cursor, node: Node) -> Node:
    """Degrees of an angle, or of Celsius or Fahrenheit where such a letter follows."""
    if cur.kinds[cur.at] in ("name", "unit") and cur.values[cur.at] in ("C", "F"):
        cur.at += 1
        return Node("quantity", (node,), (("°" + cur.values[cur.at - 1], 1),))
    return Node("degree", (node,))


def raised(cur: Cursor, node: Node) -> Node:
    """`node` and the power behind it; `^\\circ` is a degree sign, `^\\text{th}` nothing."""
    cur.at += 1
    kind = cur.kinds[cur.at]
    braces = kind == "{"
    inner = cur.kinds[cur.at + 1] if braces else kind
    if inner in ("degree", "'"):
        return raised_mark(cur, node, braces)
    if node.op == "num" and _ordinal(cur):
        return node
    return Node("pow", (node, exponent(cur)))


def _ordinal(cur: Cursor) -> bool:
    """Is `th`, `{th}` or `\\text{th}` raised here? Then it is passed over."""
    at, braces = cur.at, cur.kinds[cur.at] == "{"
    at += braces
    for length in (1, 2):
        if "".join(cur.values[at : at + length]) in _ORDINALS:
            cur.at = at + length
            if braces:
                cur.take("}")
            return True
    return False


def raised_mark(cur: Cursor, node: Node, braces: bool) -> Node:
    cur.at += braces
    kind, value = cur.kinds[cur.at], cur.values[cur.at]
    cur.at += 1
    if kind == "'":
        while cur.kinds[cur.at] == "'":
            value += "'"
            cur.at += 1
    if braces:
        cur.take("}")
    if kind == "degree":
        return degrees(cur, node)
    if kind == "'" and node.op == "name":
        return Node("name", value=node.value + "'" * max(1, len(value)))
    raise cur.fail("what is raised here")


def exponent(cur: Cursor) -> Node:
    """One group, number, name or call, with its sign and its own power."""
    cur.deeper()
    sign = signs(cur)
    node = bare_number(cur) if cur.kinds[cur.at] == "num" else primary(cur)
    if cur.kinds[cur.at] == "!":
        cur.at += 1
        node = Node("fact", (node,))
    if cur.kinds[cur.at] == "^":
        node = raised(cur, node)
    cur.depth -= 1
    return negative(node) if sign < 0 else node


def in_base(cur: Cursor, node: Node) -> Node:
    cur.at += 1
    digits = node.note or str(node.value)
    below = cur.kinds[cur.at]
    written = subscript(cur)
    base = written and NUMBER_WORDS.get(written.lower(), written)
    if below == "end" or not str(base).isdigit():
        raise cur.fail("base of a number")
    return base_literal(digits, int(base or 0))


def primary(cur: Cursor) -> Node:
    kind = cur.kinds[cur.at]
    rule = _PRIMARIES.get(kind)
    if rule is None:
        raise cur.fail("expected a value")
    return rule(cur)


_PRIMARIES: dict[str, Callable[[Cursor], Node]] = {
    "num": primaries.literal,
    "repeating": primaries.repeating_literal,
    "money": primaries.money_amount,
    "const": primaries.constant,
    "name": primaries.variable,
    "func": function_calls.named_function,
    "(": primaries.bracket,
    "[": primaries.bracket,
    "]": primaries.bracket,
    "{": primaries.braces,
    "\\{": primaries.set_braces,
    "|": primaries.bars_around,
    "norm": primaries.norm_bars,
    "lfloor": primaries.rounded,
    "lceil": primaries.rounded,
    "frac": primaries.fraction,
    "binom": primaries.binomial,
    "sqrt": primaries.any_root,
    "surd": primaries.any_root,
    "cbrt": primaries.any_root,
    "accent": primaries.accent,
    "sum": blocks.big_operator,
    "prod": blocks.big_operator,
    "int": blocks.big_operator,
    "lim": blocks.big_operator,
    "begin": blocks.environment,
    "empty": primaries.empty_set,
    "field": primaries.number_field,
    "dots": primaries.dots,
}
