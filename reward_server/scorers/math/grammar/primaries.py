"""Parse single values: literals, names, brackets, roots, sums, environments."""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.grammar import derivatives
from touchstone_rewards.reward_server.scorers.math.grammar.atoms import (
    endless_decimal,
    number,
    repeating_decimal,
)
from touchstone_rewards.reward_server.scorers.math.grammar.cursor import THREE, TWO, Cursor
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import SAME_ACCENT
from touchstone_rewards.reward_server.scorers.math.tree import Node

OPERAND_STARTS = frozenset(
    ["num", "name", "const", "func", "(", "[", "{", "frac", "sqrt", "accent", "int", "sum"]
)
MAX_PARAMETERS = 12  # tokens between the brackets of a function definition
_ALONE = frozenset(["num", "name", "const"])
_INVERSE_MARK = ["^", "{", "-", "num", "}", "("]
# Letters that are functions when a bracket follows: f(x), P(3).
FUNCTION_LETTERS = frozenset("fghFGHuvwPQ") | {"phi", "psi", "delta", "Phi", "Psi", "Gamma"}


def literal(cur: Cursor) -> Node:
    node = number(cur.values[cur.at])
    cur.at += 1
    if cur.kinds[cur.at] == "dots" and "." in (node.note or ""):
        cur.at += 1
        return endless_decimal(node)
    whole = node.op == "num" and node.value.q == 1 and "." not in (node.note or "")
    return mixed_number(cur, node) if whole else node


def mixed_number(cur: Cursor, whole: Node) -> Node:
    r"""Parse `3\frac{1}{2}` and `3 1/2`: a whole number and a proper fraction of literals."""
    start, kind = cur.at, cur.kinds[cur.at]
    part: Node | None = None
    if kind == "frac" and is_unit_fraction(cur):
        return whole
    if kind == "frac":
        cur.at += 1
        above, below = argument(cur), argument(cur)
        part = Node("div", (above, below))
    elif kind == "num" and cur.kinds[cur.at + 1] == "/" and cur.kinds[cur.at + 2] == "num":
        above, below = number(cur.values[cur.at]), number(cur.values[cur.at + 2])
        part = Node("div", (above, below))
        cur.at += 3
    if part is not None and _proper(part):
        return Node("add", (whole, part), None, "mixed")
    cur.at = start
    return whole


def money_amount(cur: Cursor) -> Node:
    r"""Parse `\$10` or `€10`, with the sign before the number."""
    sign = cur.values[cur.at]
    cur.at += 1
    cur.deeper()
    amount = cur.rules.primary(cur)
    cur.depth -= 1
    return Node("quantity", (amount,), ((currency(sign), 1),))


def currency(sign: str) -> str:
    """Return the currency's word for a money sign."""
    return "dollar" if sign == "\\$" else sign


def repeating_literal(cur: Cursor) -> Node:
    cur.at += 1
    return repeating_decimal(cur.values[cur.at - 1])


def constant(cur: Cursor) -> Node:
    value = cur.values[cur.at]
    if value in cur.bound:
        return variable(cur)
    cur.at += 1
    return Node("const", value=value)


def variable(cur: Cursor) -> Node:
    """Parse a variable with its subscript and primes, or an unknown function with its arguments."""
    name, begin = cur.values[cur.at], cur.at
    cur.at += 1
    index: Node | None = None
    if cur.kinds[cur.at] == "_":
        start = cur.at = cur.at + 1
        written = subscript(cur)
        if written is not None and (
            written.isdigit() or (written not in cur.bound and not cur.bound)
        ):
            name = f"{name}_{written}"
        else:
            cur.at = start
            index = cur.rules.exponent(cur)
    while cur.kinds[cur.at] == "'":
        name += "'"
        cur.at += 1
    if name[-1] == "'" and "_" not in name and cur.kinds[cur.at] == "_":  # x'_0
        cur.at += 1
        name = named_below(cur, Node("name", value=name)).value
    if name == "Gamma" and cur.kinds[cur.at] == "(" and not is_definition(cur):
        return Node("call", arguments(cur), "gamma")
    if name in FUNCTION_LETTERS and is_inverse(cur):
        cur.at += 5
        return Node("opaque", arguments(cur), f"{name}^-1")
    if cur.kinds[cur.at] == "(" and cur.at not in cur.gaps and is_call(cur, name):
        return Node("opaque", arguments(cur), name)
    if index is None and begin == cur.began and is_definition(cur):
        return Node("opaque", arguments(cur), name)
    return Node("name", value=name) if index is None else Node("index", (index,), name)


def named_below(cur: Cursor, node: Node) -> Node:
    """Return the name with the subscript that follows.

    Raises:
        Unreadable: the subscript is an expression.
    """
    written = subscript(cur)
    if written is None:
        raise cur.fail("a subscript that is not a name")
    return Node("name", value=f"{node.value}_{written}")


def is_definition(cur: Cursor) -> bool:
    """Tell whether `(r) =` or `(x, y) =` follows the first letter of an answer.

    Such a letter is a function, whatever its name.
    """
    if cur.kinds[cur.at] != "(":
        return False
    at = cur.at + 1
    while cur.kinds[at] in ("name", ",", "num") and at - cur.at < MAX_PARAMETERS:
        at += 1
    return cur.kinds[at] == ")" and at > cur.at + 1 and cur.kinds[at + 1] in ("=", "~")


def is_inverse(cur: Cursor) -> bool:
    """Tell whether `^{-1}(` follows."""
    marked = cur.kinds[cur.at : cur.at + 6] == _INVERSE_MARK
    return marked and cur.values[cur.at + 3] == "1"


def is_call(cur: Cursor, name: str) -> bool:
    if name.rstrip("'") in FUNCTION_LETTERS or name.endswith("'"):
        return True
    return cur.kinds[cur.at + 1] == "num" and cur.kinds[cur.at + 2] in (")", ",")


def subscript(cur: Cursor) -> str | None:
    """Return a subscript as written, such as `max`, `10` or `n`; None for an expression."""
    if cur.kinds[cur.at] == "end":
        raise cur.fail("a subscript")
    if cur.kinds[cur.at] != "{":
        cur.at += 1
        return cur.values[cur.at - 1] or None
    end = cur.at + 1
    parts: list[str] = []
    while cur.kinds[end] in ("num", "name", "const", "word", "unit", "func", ","):
        parts.append(cur.values[end])
        end += 1
    if cur.kinds[end] != "}" or not parts:
        return None
    cur.at = end + 1
    return "".join(parts)


def arguments(cur: Cursor) -> tuple[Node, ...]:
    """Parse the content of the brackets that open here."""
    cur.take("(")
    inner = inside(cur)
    cur.take(")")
    return inner.args if inner.op == "list" else (inner,)


def inside(cur: Cursor) -> Node:
    """Parse clauses in brackets; bars from outside cannot close here."""
    bars, braced = cur.bars, cur.braced
    cur.bars = cur.braced = False
    node = cur.rules.clauses(cur)
    cur.bars, cur.braced = bars, braced
    return node


def bracket(cur: Cursor) -> Node:
    opening = cur.kinds[cur.at]
    if opening == "]":
        opening = "("  # ]a, b[ is the open interval
    cur.at += 1
    inner = inside(cur)
    closing = cur.kinds[cur.at]
    if closing not in (")", "]", "["):
        raise cur.fail("expected a closing bracket")
    cur.at += 1
    closing = ")" if closing == "[" else closing
    if inner.op == "list":
        return Node("bracket", inner.args, opening + closing)
    if opening + closing not in ("()", "[]"):
        raise cur.fail("mismatched brackets around one value")
    return inner if inner.op != "relation" else Node("group", (inner,))


def braces(cur: Cursor) -> Node:
    if (node := small_group(cur)) is not None:
        return node
    cur.at += 1
    inner = inside(cur)
    if cur.kinds[cur.at] in ("|", ":"):
        return set_builder(cur, inner, "}")
    cur.take("}")
    return Node("set", inner.args) if inner.op == "list" else inner


def set_braces(cur: Cursor) -> Node:
    cur.at += 1
    if cur.kinds[cur.at] == "\\}":
        cur.at += 1
        return Node("set")
    bars, braced = cur.bars, cur.braced
    cur.bars = cur.braced = True
    inner = cur.rules.clauses(cur)
    cur.bars, cur.braced = bars, braced
    if cur.kinds[cur.at] in ("|", ":"):
        return set_builder(cur, inner, "\\}")
    cur.take("\\}")
    return Node("set", inner.args if inner.op == "list" else (inner,))


def set_builder(cur: Cursor, element: Node, closing: str) -> Node:
    cur.at += 1
    condition = inside(cur)
    cur.take(closing)
    return Node("setof", (element, condition))


def bars_around(cur: Cursor) -> Node:
    cur.at += 1
    bars, cur.bars = cur.bars, True
    cur.deeper()
    inner = cur.rules.terms(cur)
    cur.depth -= 1
    cur.bars = bars
    cur.take("|")
    if inner.op == "matrix":
        return Node("call", (inner,), "det")
    return Node("call", (inner,), "abs")


def norm_bars(cur: Cursor) -> Node:
    cur.at += 1
    cur.deeper()
    inner = cur.rules.terms(cur)
    cur.depth -= 1
    cur.take("norm")
    return Node("call", (inner,), "abs")


def rounded(cur: Cursor) -> Node:
    kind = cur.kinds[cur.at]
    cur.at += 1
    inner = inside(cur)
    cur.take("rfloor" if kind == "lfloor" else "rceil")
    return Node("call", (inner,), "floor" if kind == "lfloor" else "ceil")


def bare_number(cur: Cursor) -> Node:
    r"""Parse a literal that does not form a mixed number with a fraction
    after it: `\frac12\frac34`."""
    cur.at += 1
    return number(cur.values[cur.at - 1])


def small_group(cur: Cursor) -> Node | None:
    """Parse `{2}` or `{x}` quickly; return None for a group of more than one token."""
    if cur.kinds[cur.at + 1] not in _ALONE or cur.kinds[cur.at + 2] != "}":
        return None
    cur.at += 1
    node = cur.rules.primary(cur)
    cur.at += 1
    return node


def argument(cur: Cursor) -> Node:
    """Parse the argument of a LaTeX command: a group, or one digit, letter or command."""
    kind = cur.kinds[cur.at]
    if kind == "{":
        if (node := small_group(cur)) is not None:
            return node
        cur.at += 1
        inner = inside(cur)
        cur.take("}")
        return inner
    if kind == "num":
        return bare_number(cur)
    cur.deeper()
    node = cur.rules.primary(cur)
    cur.depth -= 1
    return node


def fraction(cur: Cursor) -> Node:
    """Parse a fraction, or a derivative with its operand."""
    cur.at += 1
    above, below = argument(cur), argument(cur)
    if (found := derivatives.operator(above, below)) is None:
        return Node("div", (above, below))
    return derivatives.made(found, found.of or operand(cur))


def is_unit_fraction(cur: Cursor) -> bool:
    r"""Tell whether a fraction of units such as `\frac{\text{m}}{\text{s}}` follows."""
    return cur.kinds[cur.at + 1 : cur.at + 3] == ["{", "unit"]


def operand(cur: Cursor) -> Node | None:
    """Parse the product after `d/dx`; None if there is none."""
    if cur.kinds[cur.at] not in OPERAND_STARTS:
        return None
    cur.deeper()
    node = cur.rules.product(cur)
    cur.depth -= 1
    return node


def binomial(cur: Cursor) -> Node:
    cur.at += 1
    return Node("call", (argument(cur), argument(cur)), "binom")


def any_root(cur: Cursor) -> Node:
    kind = cur.kinds[cur.at]
    cur.at += 1
    index = TWO if kind != "cbrt" else THREE
    if kind == "sqrt" and cur.kinds[cur.at] == "[":
        cur.at += 1
        index = inside(cur)
        cur.take("]")
    cur.deeper()
    inner = argument(cur) if cur.kinds[cur.at] == "{" else cur.rules.primary(cur)
    cur.depth -= 1
    return Node("call", (inner, index), "root")


def accent(cur: Cursor) -> Node:
    r"""Parse `\vec{a}` or `\overline{AB}` as a name."""
    accent = SAME_ACCENT.get(cur.values[cur.at], cur.values[cur.at])
    cur.at += 1
    start = cur.at
    written = subscript(cur)
    if written is None and accent == "overline":
        cur.at = start
        return Node("call", (argument(cur),), "conj")
    name = Node("name", value=f"{accent} {written}")
    if written is None:
        name = _accented_name(cur, start, accent)
    if cur.kinds[cur.at] == "_" and "_" not in name.value:  # \dot{x}_0
        cur.at += 1
        name = named_below(cur, name)
    return name


def _accented_name(cur: Cursor, start: int, accent: str) -> Node:
    r"""Parse `\vec{v_0}`: an accented name with a subscript."""
    cur.at = start
    inner = argument(cur)
    if inner.op != "name" or inner.note:
        raise cur.fail(f"\\{accent} of an expression")
    return Node("name", value=f"{accent} {inner.value}")


def empty_set(cur: Cursor) -> Node:
    cur.at += 1
    return Node("set")


def dots(cur: Cursor) -> Node:
    r"""Parse `\ldots`, which stands for omitted items and equals only itself."""
    cur.at += 1
    return Node("name", value="…")


def signs(cur: Cursor) -> int:
    sign = 1
    while (kind := cur.kinds[cur.at]) in ("+", "-"):
        if kind == "-":
            sign = -sign
        cur.at += 1
    return sign


def _proper(part: Node) -> bool:
    above, below = part.args
    return (
        above.op == below.op == "num"
        and above.value.q == below.value.q == 1
        and 0 < above.value < below.value
    )
