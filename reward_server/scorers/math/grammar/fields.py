r"""Parse number fields with their decorations: `\mathbb{R}^+`, `\mathbb{Z}_{\ge 2}`."""

from __future__ import annotations

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar.cursor import Cursor
from touchstone_rewards.reward_server.scorers.math.tree import Node


def number_field(cur: Cursor) -> Node:
    r"""Parse `\mathbb{R}`, `\mathbb{Z}^+`, `\mathbb{N}_0` or `\mathbb{R}_{\ge 0}`."""
    letter = cur.values[cur.at]
    cur.at += 1
    if cur.kinds[cur.at] not in ("^", "_") or letter in "CP":
        return _field(letter)
    braces = cur.kinds[cur.at + 1] == "{"
    at = cur.at + 1 + braces
    kind, closed = cur.kinds[at], not braces or cur.kinds[at + 1] == "}"
    if kind in ("+", "-", "*") and closed:
        cur.at = at + 1 + braces
        return _signed_field(letter, kind)
    if letter == "N" and kind == "num" and cur.values[at] == "0" and closed:
        cur.at = at + 1 + braces
        return _field("N0")
    if braces and letter in "RZNQ" and kind in ("<", ">", "<=", ">=", "!="):
        cur.at = at + 1
        cur.deeper()
        bound = cur.rules.terms(cur)
        cur.depth -= 1
        cur.take("}")
        return Node("bounded field", (bound,), (letter, kind))
    return _field(letter)


def _field(letter: str) -> Node:
    return Node("name", value=f"field {letter}", note="field")


def _signed_field(letter: str, sign: str) -> Node:
    """Parse `^+`, `_+` and `^-`, the positive and negative numbers,
    and `^*`, those without zero."""
    if letter == "N":
        return _field("N")
    zero = Node("num", value=fmpq(0))
    if sign == "*":
        return Node("difference", (_field(letter), Node("set", (zero,))))
    if letter == "Q":
        return _field(f"Q{sign}")
    return Node("bounded field", (zero,), (letter, ">" if sign == "+" else "<"))
