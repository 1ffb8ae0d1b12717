"""Expression trees: one immutable node type for every answer, and the errors of reading.

num       value: fmpq; a decimal literal keeps its digits in `note`
name      value: a variable or an unknown      index   X_{...} with an expression below
const     value: pi, e, i, inf                 call    value: function; args
opaque    value: the name of an unknown function, such as f in f(x)
add mul div neg pow mod fact degree percent    the arithmetic; add and mul take two or more
                                               args; the value of fact is 2 for a double factorial
pm mp     two values in one node: a ± b, or ± b with one argument
derivative  of an expression: args: the computed derivative
ordered   two args that do not commute: value is cross, sets or circ (composition)
sum prod  value: the index; args: from, to, body
integral  value: the variable; args: from, to, body
limit     value: the variable and a side; args: the place, body
infinite sum  value: the index; args: from, body
other     value: an unevaluated operator (an integral without bounds); args: its parts

logic     args: statements; value: and, or, not
list      items with a comma, `and`, `or` between them: value says which; note: `signs` if
          they are the two values of ±
bracket   (…), […], (…] with two or more items: value is the two brackets
set       {…}          setof   {x | condition}: args: element, condition
union intersection difference                  of sets
relation  sides: args; value: the operators between them
ratio     a : b        matrix  cells: args; value: (rows, columns)
cases     value, condition, value, condition, …
base      value: (digits, base)                quantity  args: one number; value: unit words
                                                         with their powers
labelled  args: one answer; value: the words beside it; note: `behind` if they follow it
choice    value: the letter; args: the answer beside it, if any
region    pieces of the real line: args; value: the variable, if one was named
piece     from, to: args; value: the two brackets
text      value: words
bounded field  args: the bound; value: the field's letter and the relation to the bound
congruence     args: the dividend, its remainders, the modulus
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Unreadable(Exception):
    """The text cannot be read as an answer; the message says where."""


class TooLarge(Unreadable):
    """The text is longer, or nested more deeply, than any honest answer."""


class Node(Struct, frozen=True, gc=False):
    """One node of an answer's tree; `op` is one of the names in the table above."""

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None
    note: Any = None


# Ops that have a numeric value, possibly depending on variables.
_VALUES = (
    "num name const index opaque call add mul div neg pow mod fact degree percent sum prod group "
    "ordered derivative integral limit"
)
VALUES = frozenset([*_VALUES.split(), "infinite sum"])
# Limit on a tree's height. Each level costs up to four Python calls, of about 1,000 allowed.
MAX_HEIGHT = 150


def check_height(node: Node) -> None:
    """Check that the tree can be walked recursively.

    Raises:
        TooLarge: it is too high.
    """
    level = [node]
    for _ in range(MAX_HEIGHT):
        level = [part for above in level for part in above.args]
        if not level:
            return
    raise TooLarge(f"nested deeper than {MAX_HEIGHT}")


def contains(node: Node, ops: frozenset[str]) -> bool:
    """Tell whether the tree contains a node with one of these ops."""
    pending = [node]
    while pending:
        part = pending.pop()
        if part.op in ops:
            return True
        pending.extend(part.args)
    return False


def negative(node: Node) -> Node:
    """Return minus `node`; a literal stays one node."""
    if node.op == "num":
        return Node("num", (), -node.value, node.note)
    return Node("neg", (node,))


def product_of(factors: list[Node]) -> Node:
    """Return the product of the factors as one node."""
    return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))


def sum_of(parts: list[Node]) -> Node:
    """Return the sum of the parts as one node."""
    return parts[0] if len(parts) == 1 else Node("add", tuple(parts))
