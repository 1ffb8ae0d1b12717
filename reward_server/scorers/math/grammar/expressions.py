"""Parse expressions by precedence climbing: sets, sums, products, powers, then single values."""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar import (
    blocks,
    derivatives,
    fields,
    figures,
    function_calls,
    primaries,
)
from touchstone_rewards.reward_server.scorers.math.grammar.atoms import base_literal, number
from touchstone_rewards.reward_server.scorers.math.grammar.combinations import (
    choice_count,
    combinations,
)
from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.derivatives import PARTIAL, begins
from touchstone_rewards.reward_server.scorers.math.grammar.ordered_products import (
    ordered,
    ordered_product,
)
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import (
    bare_number,
    named_below,
    signs,
    subscript,
)
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import NUMBER_WORDS
from touchstone_rewards.reward_server.scorers.math.tree import (
    Node,
    negative,
    product_of,
    sum_of,
)

# Tokens that may begin a factor without a multiplication sign: 2x, 2(x+1), 2\sqrt{3}.
FACTOR_STARTS = frozenset(
    ["num", "repeating", "name", "const", "func", "(", "[", "frac", "sqrt", "surd", "cbrt", "{",
     "accent", "binom", "lfloor", "lceil", "sum", "prod", "int", "lim", "begin", "empty", "field",
     "dots", "figure"]
)  # fmt: skip
_COMPOSED = frozenset(["name", "ordered"])
_DERIVED = frozenset("yfghuvw")  # y^{(4)} is a derivative, x^{(4)} a power
_IN_BRACKETS = (["{", "(", "num", ")", "}"], ["{", "(", "name", ")", "}"])
_TEMPERATURES = {
    "c": "°C", "celsius": "°C", "centigrade": "°C", "f": "°F", "fahrenheit": "°F", "kelvin": "K",
}  # fmt: skip
_ORDINALS = frozenset(["th", "st", "nd", "rd"])
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}


def set_terms(cur: Cursor) -> Node:
    """Parse unions, intersections and differences of sums."""
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
    start = cur.at
    factors = [factor(cur)]
    while True:
        kind = cur.kinds[cur.at]
        if kind == "*" and cur.kinds[cur.at + 1] != "unit":
            times, cur.at = cur.values[cur.at] == "times", cur.at + 1
            before, start = start, cur.at
            right = signed_factor(cur)
            if times and (ordered := ordered_product(cur, factors, right, (before, start))):
                factors[-1] = ordered
            else:
                factors.append(right)
        elif kind == "/" and cur.kinds[cur.at + 1] != "unit":
            cur.at += 1
            factors = divided(cur, factors)
        elif kind == "mod":
            cur.at += 1
            factors = [Node("mod", (product_of(factors), signed_factor(cur)))]
        elif kind == "frac" and primaries.is_unit_fraction(cur):
            return product_of(factors)
        elif kind in FACTOR_STARTS or (kind == "|" and not cur.bars):
            if kind == "num" and factors[-1].op == "num":
                raise cur.fail("two numbers side by side")
            start = cur.at
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


def divided(cur: Cursor, factors: list[Node]) -> list[Node]:
    """Return the factors before a `/` divided by the one after it; `dy/dx`
    among them is a derivative."""
    start = cur.at
    below = signed_factor(cur)
    if begins(below) and cur.kinds[cur.at] == "name":
        at = next((i for i in reversed(range(len(factors))) if begins(factors[i])), None)
        parts = [below, factor(cur)]
        while cur.kinds[cur.at] == "name" and cur.values[cur.at] == PARTIAL:
            parts += [factor(cur), factor(cur)]
        above = None if at is None else product_of(factors[at:])
        if above and (found := derivatives.operator(above, product_of(parts))):
            return [*factors[:at], derivatives.made(found, found.of or primaries.operand(cur))]
        cur.at = start
        below = signed_factor(cur)
    return [Node("div", (product_of(factors), below))]


def _composes(cur: Cursor) -> bool:
    return cur.values[cur.at] == "circ" and cur.kinds[cur.at + 1] in ("name", "(")


def composed(cur: Cursor, node: Node) -> Node:
    r"""Parse `f \circ g`, whose functions do not commute."""
    cur.at += 1
    return ordered(node, primary(cur), "circ")


def signed_factor(cur: Cursor) -> Node:
    sign = signs(cur)
    node = factor(cur)
    return negative(node) if sign < 0 else node


def factor(cur: Cursor) -> Node:
    """Parse a primary with its powers, factorials, percent signs and degrees."""
    node = primary(cur)
    while True:
        kind = cur.kinds[cur.at]
        if kind == "^":
            node = raised(cur, node)
        elif kind == "!":
            node = with_factorial(cur, node)
        elif kind == "degree" and node.op in _COMPOSED and _composes(cur):
            node = composed(cur, node)
        elif kind in ("%", "degree"):
            cur.at += 1
            node = Node("percent", (node,)) if kind == "%" else degrees(cur, node)
        elif kind == "_" and node.op == "num":
            node = in_base(cur, node)
        else:
            return node


def with_factorial(cur: Cursor, node: Node) -> Node:
    """Parse `n!`, and `n!!`, which is the double factorial and not `(n!)!`."""
    start = cur.at
    while cur.kinds[cur.at] == "!":
        cur.at += 1
    if cur.at - start > 2:
        raise cur.fail("more than two factorial signs")
    return Node("fact", (node,), 2 if cur.at - start == 2 else None)


def degrees(cur: Cursor, node: Node) -> Node:
    """Parse degrees of an angle, or of Celsius or Fahrenheit if that letter follows."""
    scale = cur.values[cur.at].lower() if cur.kinds[cur.at] in ("name", "unit", "word") else ""
    if scale in _TEMPERATURES and (len(scale) > 1 or cur.values[cur.at].isupper()):
        cur.at += 1
        return Node("quantity", (node,), ((_TEMPERATURES[scale], 1),))
    return Node("degree", (minutes(cur, node),))


def minutes(cur: Cursor, node: Node) -> Node:
    r"""Parse `30^\circ 15' 36''`: degrees with minutes and seconds."""
    parts = [node]
    for mark, share in (("'", 60), ("''", 3600)):
        end = cur.at + 1 + len(mark)
        if cur.kinds[cur.at] != "num" or "".join(cur.kinds[cur.at + 1 : end]) != mark:
            continue
        if cur.kinds[end] == "'":  # two marks are seconds
            continue
        parts.append(Node("div", (number(cur.values[cur.at]), Node("num", value=fmpq(share)))))
        cur.at = end
    return sum_of(parts)


def raised(cur: Cursor, node: Node) -> Node:
    r"""Parse a power after `node`; `^\circ` is a degree sign, `^\text{th}` is ignored."""
    cur.at += 1
    kind = cur.kinds[cur.at]
    braces = kind == "{"
    inner = cur.kinds[cur.at + 1] if braces else kind
    if inner in ("degree", "'"):
        return raised_mark(cur, node, braces)
    if node.op == "num" and _ordinal(cur):
        return node
    if node.op == "name" and (marks := _derivative_marks(cur, node.value)):
        return marked(cur, node.value + marks)
    power = exponent(cur)
    if cur.kinds[cur.at] == "_" and node.op == "name" and "_" not in node.value:
        cur.at += 1
        node = named_below(cur, node)  # v^2_0
    return combinations(node, power) or Node("pow", (node, power))


def written_before(cur: Cursor) -> Node:
    """Parse `{}_{10}C_3` and `{}^{10}P_3`, whose first number precedes the letter."""
    cur.at += 1
    of = exponent(cur)
    letter = cur.values[cur.at]
    if cur.kinds[cur.at] != "name" or letter not in "CP" or cur.kinds[cur.at + 1] != "_":
        raise cur.fail("expected a letter after a leading subscript")
    cur.at += 2
    return choice_count(letter, of, exponent(cur))


def _derivative_marks(cur: Cursor, name: str) -> str | None:
    """Return the primes that `y^{(4)}` abbreviates, or None if the exponent is a power."""
    bracketed = cur.kinds[cur.at : cur.at + 5] in _IN_BRACKETS
    if not bracketed or name.rstrip("'") not in _DERIVED:
        return None
    order = cur.values[cur.at + 2]
    cur.at += 5
    few = order.isdigit() and 0 < int(order[:3]) <= derivatives.MAX_ORDER
    return "'" * int(order) if few else f"^({order})"


def marked(cur: Cursor, name: str) -> Node:
    """Parse a function's name with its primes, and its arguments if a bracket follows."""
    if cur.kinds[cur.at] == "(" and cur.at not in cur.gaps:
        return Node("opaque", primaries.arguments(cur), name)
    return Node("name", value=name)


def _ordinal(cur: Cursor) -> bool:
    r"""Skip a superscript `th`, `{th}` or `\text{th}`; return whether there was one."""
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
    raise cur.fail("an unknown text in an exponent")


def exponent(cur: Cursor) -> Node:
    """Parse one group, number, name or call, with its sign and its own power."""
    cur.deeper()
    sign = signs(cur)
    node = bare_number(cur) if cur.kinds[cur.at] == "num" else primary(cur)
    if cur.kinds[cur.at] == "!":
        node = with_factorial(cur, node)
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
    "unit": primaries.variable,
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
    "figure": figures.figure,
    "field": fields.number_field,
    "dots": primaries.dots,
    "_": written_before,
    "^": written_before,
}
