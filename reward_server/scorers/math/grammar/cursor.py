"""State of the parser: the tokens, a position in them, and the nesting depth.

The grammar consists of five modules of functions over one cursor: `parse` (answers, lists,
relations, words), `expressions` (sums down to powers), `function_calls` (named functions), `blocks`
(bounded sums, matrices) and `primaries` (single values). A module imports those below it and calls
those above it through `Rules`.
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
    """Grammar rules that modules further down call without importing them."""

    clauses: Callable[[Cursor], Node]
    clause: Callable[[Cursor], Node]
    joint: Callable[[Cursor], set[str]]
    terms: Callable[[Cursor], Node]
    product: Callable[[Cursor], Node]
    factor: Callable[[Cursor], Node]
    exponent: Callable[[Cursor], Node]
    primary: Callable[[Cursor], Node]


class Cursor:
    r"""A position in the tokens.

    `bars`: inside |…|, where the next bar closes. `bound`: indices of the enclosing sums.
    `integrals`: number of open integrals, in which `dx` ends a function's argument. `braced`:
    directly inside {…}, where a colon is not a ratio. `began`: start of the current clause.
    `logical`: the answer contains `\land`, `\lor` or `\lnot`.
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
