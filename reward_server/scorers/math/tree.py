"""What a text is read as: one immutable node type for every answer, and the error of reading.

num       value: fmpq; a decimal literal keeps its digits in `note`
name      value: a variable or an unknown      index   X_{...} with an expression below
const     value: pi, e, i, inf                 call    value: function; args
opaque    value: the name of an unknown function, as f in f(x)
add mul div neg pow mod fact degree percent    the arithmetic; add and mul take any number; the
                                               value of fact is 2 for a double factorial
pm mp     two values in one: a ± b, or ± b with one argument
derivative  of an expression: args: the expression that it is
ordered   two args that cannot change places: value is cross, sets or circ (composition)
sum prod  value: the index; args: from, to, body
integral  value: the variable; args: from, to, body
limit     value: the variable and a side; args: the place, body
infinite sum  value: the index; args: from, body
other     value: an operator kept unread (an integral without bounds); args: its parts

logic     args: statements; value: and, or, not
list      items with a comma, `and`, `or` between them: value says which; note: `signs` where
          they are the two values of ±
bracket   (…), […], (…] with two or more items: value is the two brackets
set       {…}          setof   {x | condition}: args: element, condition
union intersection difference                  of sets
relation  sides: args; value: the operators between them
ratio     a : b        matrix  cells: args; value: (rows, columns)
cases     value, condition, value, condition, …
base      value: (digits, base)                quantity  args: one number; value: unit words
                                                         with their powers
labelled  args: one answer; value: the words beside it; note: `behind` where they follow it
choice    value: the letter; args: what stands beside it, if anything
region    pieces of the real line: args; value: the variable, if one was named
piece     from, to: args; value: the two brackets
text      value: words
bounded field  args: the bound; value: the field's letter and the relation to the bound
congruence     args: what is divided, its remainders, the modulus
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Unreadable(Exception):
    """This text is not an answer that we can read; the message says at what."""


class TooLarge(Unreadable):
    """The text is longer, or nested deeper, than any honest answer."""


class Node(Struct, frozen=True, gc=False):
    """One part of an answer; `op` is one of the names in the table above."""

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None
    note: Any = None


# The ops that are worth a number, or one at each point.
_VALUES = (
    "num name const index opaque call add mul div neg pow mod fact degree percent sum prod group "
    "ordered derivative integral limit"
)
VALUES = frozenset([*_VALUES.split(), "infinite sum"])
# Of a tree. Every level costs up to four Python calls, of which a process allows about 1,000.
MAX_HEIGHT = 150


def check_height(node: Node) -> None:
    """See that walking down the tree by calls is safe.

    Raises:
        TooLarge: it is not.
    """
    level = [node]
    for _ in range(MAX_HEIGHT):
        level = [part for above in level for part in above.args]
        if not level:
            return
    raise TooLarge(f"nested deeper than {MAX_HEIGHT}")


def contains(node: Node, ops: frozenset[str]) -> bool:
    """Has the tree a node of one of these ops?"""
    pending = [node]
    while pending:
        part = pending.pop()
        if part.op in ops:
            return True
        pending.extend(part.args)
    return False


def negative(node: Node) -> Node:
    """Minus `node`; a literal stays one node."""
    if node.op == "num":
        return Node("num", (), -node.value, node.note)
    return Node("neg", (node,))


def product_of(factors: list[Node]) -> Node:
    """The factors as one node."""
    return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))


def sum_of(parts: list[Node]) -> Node:
    """The parts as one node."""
    return parts[0] if len(parts) == 1 else Node("add", tuple(parts))
