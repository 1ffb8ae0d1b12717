"""Parse an answer's text into a tree, in linear time and with bounded depth.

LaTeX and plain text form one language. The tree records the notation, not its meaning: whether
`(1, 2)` is a point or an interval is decided by `answer_shape` and `compare`. This module parses
answers: lists, relations, words and units; `cursor` lists the modules for the rest.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor, Rules
from touchstone_rewards.reward_server.scorers.math.grammar.expressions import (
    exponent,
    factor,
    primary,
    product,
    set_terms,
    terms,
)
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import (
    argument,
    currency,
    is_unit_fraction,
)
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import SCALES
from touchstone_rewards.reward_server.scorers.math.grammar.tokens import tokenize
from touchstone_rewards.reward_server.scorers.math.grammar.units import is_currency, is_unit
from touchstone_rewards.reward_server.scorers.math.tree import Node, check_height

RELATIONS = frozenset(
    ["=", "<", ">", "<=", ">=", "!=", "~", "in", "notin", "equiv", "nequiv", "->", "perp",
     "parallel", "similar", "congruent", "subset", "subseteq", "subsetneq", "supset", "supseteq",
     "propto", "nsubset", "nsubseteq"]
)  # fmt: skip
SEPARATORS = frozenset([",", ";", "and", "or", "quad", "\\\\"])
FLAT_TOKENS = 30  # too few to be nested too deeply
UNIT_WORDS = frozenset(["per", "square", "cubic", "squared", "cubed", "sq", "cu"])
_BETWEEN_UNITS = frozenset(["/", "*", "-"])
_UNIT_TOKENS = frozenset(["unit", "word", "/", "*", "-"])
CLOSERS = frozenset(["end", ")", "]", "}", "\\}", "&", "rfloor", "rceil"])


def answer(cur: Cursor) -> Node:
    """Parse all tokens as one answer, ignoring a leading equals sign."""
    if cur.kinds[cur.at] in ("=", "~"):
        cur.at += 1
    node = clauses(cur)
    while cur.kinds[cur.at] in (".", "?", "!", '"'):
        cur.at += 1
    if cur.kinds[cur.at] != "end":
        raise cur.fail("unexpected rest")
    return node


def clauses(cur: Cursor) -> Node:
    """Parse items with separators between them; a single item is returned as it is."""
    cur.deeper()
    items = [statement(cur)]
    joints: list[set[str]] = []
    while cur.kinds[cur.at] in SEPARATORS:
        between = joint(cur)
        if cur.kinds[cur.at] in CLOSERS or cur.kinds[cur.at] == ".":
            break
        joints.append(between)
        items.append(statement(cur))
    cur.depth -= 1
    return items[0] if len(items) == 1 else joined(items, joints)


def joined(items: list[Node], joints: list[set[str]]) -> Node:
    """Return the items as a list, or as a list of tuples if both , and ; separate them."""
    kinds = {kind for joint in joints for kind in joint}
    if kinds >= {",", ";"}:
        rows: list[list[Node]] = [[items[0]]]
        for between, item in zip(joints, items[1:], strict=True):
            if ";" in between:
                rows.append([item])
            else:
                rows[-1].append(item)
        items = [row[0] if len(row) == 1 else Node("bracket", tuple(row), "()") for row in rows]
    return Node("list", tuple(items), "or" if "or" in kinds else "and" if "and" in kinds else ",")


def joint(cur: Cursor) -> set[str]:
    """Parse a run of separators such as `, and`."""
    seen: set[str] = set()
    while (kind := cur.kinds[cur.at]) in SEPARATORS:
        if kind in seen and kind in ",;":
            raise cur.fail("nothing between two separators")
        seen.add(kind)
        cur.at += 1
    return seen


def statement(cur: Cursor) -> Node:
    r"""Parse clauses with `\land`, `\lor` and `\lnot`, where `\land` binds tighter."""
    if not cur.logical:
        return clause(cur)
    alternatives = [_conjunction(cur)]
    while cur.kinds[cur.at] == "lor":
        cur.at += 1
        alternatives.append(_conjunction(cur))
    return alternatives[0] if len(alternatives) == 1 else Node("logic", tuple(alternatives), "or")


def _conjunction(cur: Cursor) -> Node:
    parts = [_part(cur)]
    while cur.kinds[cur.at] == "land":
        cur.at += 1
        parts.append(_part(cur))
    return parts[0] if len(parts) == 1 else Node("logic", tuple(parts), "and")


def _part(cur: Cursor) -> Node:
    if cur.kinds[cur.at] != "lnot":
        return clause(cur)
    cur.at += 1
    cur.deeper()
    denied = Node("logic", (_part(cur),), "not")
    cur.depth -= 1
    return denied


def clause(cur: Cursor) -> Node:
    """Parse an expression or a chain of relations, with a unit or a label after it."""
    kind = cur.kinds[cur.at]
    cur.began = cur.at
    if kind == "word" or (kind == "unit" and len(cur.values[cur.at]) > 1):
        return worded(cur)
    if kind == "quantifier":
        quantifier = cur.values[cur.at]
        cur.at += 1
        return Node("quantified", (_behind(cur, statement),), quantifier)
    first = with_label(cur, set_terms(cur))
    if not _relates(cur):
        return first
    return relation_chain(cur, first)


def _behind(cur: Cursor, rule: Callable[[Cursor], Node]) -> Node:
    """Parse the operand of a quantifier or a label, one level deeper."""
    cur.deeper()
    node = rule(cur)
    cur.depth -= 1
    return node


def _relates(cur: Cursor) -> bool:
    kind = cur.kinds[cur.at]
    return kind in RELATIONS or (kind == ":" and not cur.braced)


def relation_chain(cur: Cursor, first: Node) -> Node:
    sides = [first]
    operators: list[str] = []
    while _relates(cur):
        operators.append(cur.kinds[cur.at])
        cur.at += 1
        sides.append(with_label(cur, set_terms(cur)))
    if operators in (["equiv"], ["nequiv"]) and (made := congruence(cur, sides)) is not None:
        return made if operators == ["equiv"] else Node("congruence", made.args, "not")
    if operators.count(":") == len(operators):
        return Node("ratio", tuple(sides))
    if ":" in operators:
        return ratio_relation(cur, sides, operators)
    return Node("relation", tuple(sides), tuple(operators))


def congruence(cur: Cursor, sides: list[Node]) -> Node | None:
    r"""Parse `n \equiv 1, 2 \pmod 5`: side, remainders and modulus; None without a modulus."""
    start = cur.at
    classes = sides[1:]
    if classes[-1].op == "mod":  # n \equiv 1 \mod 3
        return Node("congruence", (sides[0], *classes[-1].args))
    while cur.kinds[cur.at] in (",", "and", "or"):
        joint(cur)
        if cur.kinds[cur.at] not in ("num", "-", "pm", "name"):
            break
        classes.append(set_terms(cur))
    if cur.kinds[cur.at] == "pmod":
        cur.at += 1
        return Node("congruence", (sides[0], *classes, argument(cur)))
    if classes[-1].op == "mod":
        return Node("congruence", (sides[0], *classes[:-1], *classes[-1].args))
    cur.at = start
    return None


def ratio_relation(cur: Cursor, sides: list[Node], operators: list[str]) -> Node:
    """Parse `A : B = 1`, where colons bind tighter than relations."""
    grouped: list[list[Node]] = [[sides[0]]]
    kept: list[str] = []
    for operator, side in zip(operators, sides[1:], strict=True):
        if operator == ":":
            grouped[-1].append(side)
        else:
            kept.append(operator)
            grouped.append([side])
    nodes = [g[0] if len(g) == 1 else Node("ratio", tuple(g)) for g in grouped]
    return Node("relation", tuple(nodes), tuple(kept))


def worded(cur: Cursor) -> Node:
    """Parse a clause that begins with words, which label the rest or are the answer.

    `Area = 6`, `Maximum: 2` and `Sequence 1` are labelled values.
    """
    if is_currency(cur.values[cur.at]) and cur.kinds[cur.at + 1] == "num":  # USD 5
        word = cur.values[cur.at]
        cur.at += 1
        return Node("quantity", (factor(cur),), ((word, 1),))
    words = take_words(cur)
    says = words.rpartition(" ")[2].lower() in ("is", "are", "equals")
    if not says and cur.kinds[cur.at] in ("=", ":", "~"):
        cur.at += 1
        says = True
    if says and cur.kinds[cur.at] != "end":
        return Node("labelled", (_behind(cur, clause),), words)
    return Node("text", value=words)


def take_words(cur: Cursor) -> str:
    found: list[str] = []
    while cur.kinds[cur.at] in ("word", "unit") or (
        found and cur.at in cur.plain and cur.kinds[cur.at] in ("name", "const", "'", "for")
    ):
        found.append(cur.values[cur.at] or cur.kinds[cur.at])
        cur.at += 1
    return " ".join(found)


def with_label(cur: Cursor, node: Node) -> Node:
    """Return `node` with the unit or the words after it."""
    kind = cur.kinds[cur.at]
    if kind == "money":  # 5 €
        cur.at += 1
        return Node("quantity", (node,), ((currency(cur.values[cur.at - 1]), 1),))
    if kind == "unit" and cur.values[cur.at] == "in" and cur.kinds[cur.at + 1] in ("word", "unit"):
        return Node("labelled", (node,), take_words(cur), "behind")  # in total: not inches
    if kind == "word" and cur.values[cur.at].lower() in UNIT_WORDS:
        parts = unit_parts(cur)
        return Node("quantity", (node,), parts) if parts else node
    if kind == "unit" or (kind == "*" and cur.kinds[cur.at + 1] == "unit"):
        return with_unit(cur, node)
    if kind == "frac" and is_unit_fraction(cur):
        cur.at += 2
        above = unit_parts(cur)
        cur.take("}")
        cur.take("{")
        below = tuple((word, -power) for word, power in unit_parts(cur))
        cur.take("}")
        return Node("quantity", (node,), above + below)
    if kind == "word" and (power := SCALES.get(cur.values[cur.at].lower())):
        cur.at += 1
        return _labelled_behind(cur, scaled(node, power))
    if kind == "word" and is_unit(f"{cur.values[cur.at]} {cur.values[cur.at + 1]}".lower()):
        cur.values[cur.at + 1] = f"{cur.values[cur.at]} {cur.values[cur.at + 1]}".lower()
        cur.at += 1
        return with_unit(cur, node)
    if kind == "word" and cur.values[cur.at] == "US" and is_currency(cur.values[cur.at + 1]):
        cur.at += 1
        return with_unit(cur, node)
    if kind == "word":
        return Node("labelled", (node,), take_words(cur), "behind")
    return node


def scaled(node: Node, power: int) -> Node:
    r"""Parse `\$5` million: the amount is multiplied and stays money."""
    if node.op == "quantity":
        return Node("quantity", (scaled(node.args[0], power),), node.value)
    return Node("mul", (node, Node("num", value=fmpq(10) ** power)))


def with_unit(cur: Cursor, node: Node) -> Node:
    """Return `node` with its unit, and a second quantity if one follows: `1 hour 30 minutes`."""
    if cur.kinds[cur.at] == "*":
        cur.at += 1
    parts = unit_parts(cur)
    if cur.kinds[cur.at] == "word":
        take_words(cur)
    made = Node("quantity", (node,), parts)
    if cur.kinds[cur.at] == "num":
        return Node("compound", (made, _labelled_behind(cur, factor(cur))))
    return made


def _labelled_behind(cur: Cursor, node: Node) -> Node:
    cur.deeper()
    node = with_label(cur, node)
    cur.depth -= 1
    return node


def unit_parts(cur: Cursor) -> tuple[tuple[str, int], ...]:
    """Parse a unit into words with powers.

    Examples are `cm^2`, `km/h`, `kg·m/s^2`, `W/(m^2 K)` and `square feet per second`.
    """
    parts: list[tuple[str, int]] = []
    sign = 1
    while (kind := cur.kinds[cur.at]) in _UNIT_TOKENS or (parts and _unit_at(cur, cur.at)):
        word = cur.values[cur.at]
        if kind == "word" and word.lower() not in UNIT_WORDS:
            break
        if kind in _BETWEEN_UNITS and not (
            _unit_at(cur, cur.at + 1) or (kind == "/" and cur.kinds[cur.at + 1] == "(")
        ):
            break
        if kind == "/" and cur.kinds[cur.at + 1] == "(":
            return (*parts, *_divided_by(cur))
        if kind in _BETWEEN_UNITS and cur.kinds[cur.at + 1] == "name":
            cur.kinds[cur.at + 1] = "unit"
        cur.at += 1
        if cur.kinds[cur.at] == "." and cur.kinds[cur.at + 1] != "end":
            cur.at += 1  # sq. ft.
        if kind == "/" or word.lower() == "per":
            sign = -1
        elif kind not in _BETWEEN_UNITS:
            parts.append((_with_ohm(cur, word), sign * unit_power(cur)))
    return tuple(parts)


def _divided_by(cur: Cursor) -> tuple[tuple[str, int], ...]:
    """Parse `/(m^2 K)`: every unit in the brackets is in the denominator."""
    cur.at += 2
    for at in range(cur.at, min(cur.at + 8, len(cur.kinds))):
        if cur.kinds[at] == "name" and is_unit(cur.values[at]):
            cur.kinds[at] = "unit"
    below = unit_parts(cur)
    cur.take(")")
    return tuple((word, -power) for word, power in below)


def _with_ohm(cur: Cursor, word: str) -> str:
    r"""Parse `\text{M}\Omega`: the prefix and its unit."""
    if cur.kinds[cur.at] == "name" and cur.values[cur.at] == "Omega" and is_unit(f"{word}Ω"):
        cur.at += 1
        return f"{word}Ω"
    return word


def _unit_at(cur: Cursor, at: int) -> bool:
    return cur.kinds[at] == "unit" or (cur.kinds[at] == "name" and is_unit(cur.values[at]))


def unit_power(cur: Cursor) -> int:
    sign = 1
    if cur.kinds[cur.at] != "^":
        if not _power_follows(cur):
            return 1
        sign = -1 if cur.kinds[cur.at] == "-" else 1
        cur.at -= sign > 0
    cur.at += 1
    power = exponent(cur)
    if power.op != "num" or power.value.q != 1 or abs(power.value.p) > 9:
        raise cur.fail("power of a unit")
    return sign * int(power.value.p)


def _power_follows(cur: Cursor) -> bool:
    """Tell whether `2` or `-1` directly follows the unit, as in `cm2` and `m s-1`."""
    at = cur.at + (cur.kinds[cur.at] == "-")
    near = cur.at not in cur.gaps and at not in cur.gaps and at in cur.plain
    return near and cur.kinds[at] == "num" and cur.values[at] in ("1", "2", "3", "4")


_RULES = Rules(clauses, statement, joint, terms, product, factor, exponent, primary)


def parse(text: str) -> Node:
    """Return the tree of an answer that is already in ASCII.

    Raises:
        TooLarge: it is too long or nested too deeply.
        Unreadable: it does not fit the grammar.
    """
    tokens = tokenize(text)
    node = answer(Cursor(tokens, _RULES))
    if len(tokens.kinds) > FLAT_TOKENS:
        check_height(node)
    return node
