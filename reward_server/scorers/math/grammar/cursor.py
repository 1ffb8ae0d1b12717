"""Where the reader stands: the tokens, a place in them, and how deep it is nested.

The grammar is five rooms of functions over one cursor: `parse` (answers, lists, relations, words),
`expressions` (sums down to powers), `calls` (named functions), `blocks` (bounded sums, matrices),
`primaries` (what stands alone).
Rooms call the ones before them by name and the ones after them through `Rules`.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq
from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.grammar.tokens import Tokens
from touchstone_rewards.reward_server.scorers.math.tree import Node, TooLarge, Unreadable

MAX_DEPTH = 48
_CONNECTIVES = frozenset(["land", "lor", "lnot"])

MINUS_ONE, TWO, THREE = (Node("num", value=fmpq(number)) for number in (-1, 2, 3))


class Rules(Struct, frozen=True):
    """The rules that are asked for from deeper in the grammar than they stand."""

    clauses: Callable[[Cursor], Node]
    clause: Callable[[Cursor], Node]
    joint: Callable[[Cursor], set[str]]
    terms: Callable[[Cursor], Node]
    product: Callable[[Cursor], Node]
    factor: Callable[[Cursor], Node]
    exponent: Callable[[Cursor], Node]
    primary: Callable[[Cursor], Node]


class Cursor:
    """A place in the tokens.

    `bars`: are we inside |…|, where the next bar closes? `bound`: the indices of the sums around
    us. `integrals`: how many are open, in which `dx` ends what a function is applied to. `braced`:
    directly inside {…}, where a colon is no ratio? `began`: where the present clause begins.
    `logical`: is there a `\\land`, `\\lor` or `\\lnot` at all?
    """

    __slots__ = (
        "at",
        "bars",
        "began",
        "bound",
        "braced",
        "depth",
        "gaps",
        "integrals",
        "kinds",
        "logical",
        "plain",
        "rules",
        "values",
    )

    def __init__(self, tokens: Tokens, rules: Rules) -> None:
        self.kinds, self.values = tokens.kinds, tokens.values
        self.gaps, self.plain = tokens.gaps, tokens.plain
        self.rules = rules
        self.logical = not _CONNECTIVES.isdisjoint(tokens.kinds)
        self.at = self.depth = self.began = self.integrals = 0
        self.bars = self.braced = False
        self.bound: tuple[str, ...] = ()

    def fail(self, what: str) -> Unreadable:
        return Unreadable(f"{what} at token {self.at} ({self.kinds[self.at]!r})")

    def take(self, kind: str) -> None:
        if self.kinds[self.at] != kind:
            raise self.fail(f"expected {kind!r}")
        self.at += 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
