"""An answer's text in, its tree out: linear in its length and of bounded depth.

LaTeX and plain text are one language here. It says what stands there, not what it is worth: that
`(1, 2)` may be a point or an interval is for `shapes` and `compare` to settle. This room reads
answers: lists, relations, words and units; `cursor` says where the rest of the grammar is.
"""

from __future__ import annotations

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
from touchstone_rewards.reward_server.scorers.math.grammar.primaries import argument
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import SCALES
from touchstone_rewards.reward_server.scorers.math.grammar.tokens import tokenize
from touchstone_rewards.reward_server.scorers.math.grammar.units import is_unit
from touchstone_rewards.reward_server.scorers.math.tree import Node, check_height

RELATIONS = frozenset(
    ["=", "<", ">", "<=", ">=", "!=", "~", "in", "notin", "equiv", "subset", "->"]
)
SEPARATORS = frozenset([",", ";", "and", "or", "quad", "\\\\"])
UNIT_WORDS = frozenset(["per", "square", "cubic", "squared", "cubed", "sq", "cu"])
CLOSERS = frozenset(["end", ")", "]", "}", "\\}", "&", "rfloor", "rceil"])


def answer(cur: Cursor) -> Node:
    """All tokens as one answer; a sign of equality that leads in is no part of it."""
    if cur.kinds[cur.at] in ("=", "~"):
        cur.at += 1
    node = clauses(cur)
    while cur.kinds[cur.at] in (".", "?", "!", '"'):
        cur.at += 1
    if cur.kinds[cur.at] != "end":
        raise cur.fail("something is left over")
    return node


def clauses(cur: Cursor) -> Node:
    """Items with separators between them; one item alone is itself."""
    cur.deeper()
    items = [clause(cur)]
    joints: list[set[str]] = []
    while cur.kinds[cur.at] in SEPARATORS:
        between = joint(cur)
        if cur.kinds[cur.at] in CLOSERS or cur.kinds[cur.at] == ".":
            break
        joints.append(between)
        items.append(clause(cur))
    cur.depth -= 1
    return items[0] if len(items) == 1 else joined(items, joints)


def joined(items: list[Node], joints: list[set[str]]) -> Node:
    """The items as one list; where both , and ; stand between them, as a list of tuples."""
    kinds = set().union(*joints)
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
    """A run of separators such as `, and`."""
    seen: set[str] = set()
    while (kind := cur.kinds[cur.at]) in SEPARATORS:
        if kind in seen and kind in ",;":
            raise cur.fail("nothing between two separators")
        seen.add(kind)
        cur.at += 1
    return seen


def clause(cur: Cursor) -> Node:
    """An expression or a chain of relations, with a unit or a label behind it."""
    kind = cur.kinds[cur.at]
    if kind == "word":
        return worded(cur)
    if kind == "quantifier":
        cur.at += 1
        return Node("quantified", (_clause_behind(cur),), cur.values[cur.at - 1])
    first = with_label(cur, set_terms(cur))
    if not _relates(cur):
        return first
    return relation_chain(cur, first)


def _clause_behind(cur: Cursor) -> Node:
    cur.deeper()
    node = clause(cur)
    cur.depth -= 1
    return node


def _relates(cur: Cursor) -> bool:
    kind = cur.kinds[cur.at]
    return kind in RELATIONS or (kind == ":" and not cur.braced)


def relation_chain(cur: Cursor, first: Node) -> Node:
    sides, operators = [first], []
    while _relates(cur):
        operators.append(cur.kinds[cur.at])
        cur.at += 1
        sides.append(with_label(cur, set_terms(cur)))
    if cur.kinds[cur.at] == "pmod" and operators == ["equiv"]:
        cur.at += 1
        return Node("congruence", (*sides, argument(cur)))
    if operators.count(":") == len(operators):
        return Node("ratio", tuple(sides))
    if ":" in operators:
        return ratio_relation(cur, sides, operators)
    return Node("relation", tuple(sides), tuple(operators))


def ratio_relation(cur: Cursor, sides: list[Node], operators: list[str]) -> Node:
    """`A : B = 1`: the colons bind tighter than what relates the ratios."""
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
    """Words first: `Area = 6`, `Maximum: 2` and `Sequence 1` name what follows, else text."""
    words = take_words(cur)
    says = words.rpartition(" ")[2].lower() in ("is", "are", "equals")
    if not says and cur.kinds[cur.at] in ("=", ":", "~"):
        cur.at += 1
        says = True
    if says and cur.kinds[cur.at] != "end":
        return Node("labelled", (_clause_behind(cur),), words)
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
    """`node` with the unit or the words that stand behind it."""
    kind = cur.kinds[cur.at]
    if kind == "word" and cur.values[cur.at].lower() in UNIT_WORDS:
        parts = unit_parts(cur)
        return Node("quantity", (node,), parts) if parts else node
    if kind == "unit" or (kind == "*" and cur.kinds[cur.at + 1] == "unit"):
        if kind == "*":
            cur.at += 1
        parts = unit_parts(cur)
        if cur.kinds[cur.at] == "word":
            take_words(cur)
        made = Node("quantity", (node,), parts)
        if cur.kinds[cur.at] == "num":  # 1 hour 30 minutes
            return Node("compound", (made, _labelled_behind(cur, factor(cur))))
        return made
    if kind == "word" and (power := SCALES.get(cur.values[cur.at].lower())):
        cur.at += 1
        scale = Node("num", value=fmpq(10) ** power)
        return _labelled_behind(cur, Node("mul", (node, scale)))
    if kind == "word":
        return Node("labelled", (node,), take_words(cur))
    return node


def _labelled_behind(cur: Cursor, node: Node) -> Node:
    cur.deeper()
    node = with_label(cur, node)
    cur.depth -= 1
    return node


def unit_parts(cur: Cursor) -> tuple[tuple[str, int], ...]:
    """`cm^2`, `km/h`, `square feet per second` as words with powers."""
    parts: list[tuple[str, int]] = []
    sign = 1
    while (kind := cur.kinds[cur.at]) in ("unit", "/", "*", "word"):
        word = cur.values[cur.at]
        if kind == "word" and word.lower() not in UNIT_WORDS:
            break
        if kind in ("/", "*") and not _unit_at(cur, cur.at + 1):
            break
        if kind == "/" and cur.kinds[cur.at + 1] == "name":
            cur.kinds[cur.at + 1] = "unit"
        cur.at += 1
        if cur.kinds[cur.at] == "." and cur.kinds[cur.at + 1] != "end":
            cur.at += 1  # sq. ft.
        if kind == "/" or word.lower() == "per":
            sign = -1
        elif kind != "*":
            parts.append((word, sign * unit_power(cur)))
    return tuple(parts)


def _unit_at(cur: Cursor, at: int) -> bool:
    return cur.kinds[at] == "unit" or (cur.kinds[at] == "name" and is_unit(cur.values[at]))


def unit_power(cur: Cursor) -> int:
    if cur.kinds[cur.at] != "^":
        return 1
    cur.at += 1
    power = exponent(cur)
    if power.op != "num" or power.value.q != 1 or abs(power.value.p) > 9:
        raise cur.fail("power of a unit")
    return int(power.value.p)


_RULES = Rules(clauses, clause, joint, terms, product, factor, exponent, primary)


def parse(text: str) -> Node:
    """The tree of an answer that is already in ASCII.

    Raises:
        TooLarge: it is too long or nested too deeply.
        Unreadable: this is no answer that the grammar has.
    """
    node = answer(Cursor(tokenize(text), _RULES))
    check_height(node)
    return node
