"""Build the smallest parts of an answer: literals as exact rationals, and LaTeX environments.

A decimal literal keeps its digits besides its value, so that rounding can be judged.
"""

from __future__ import annotations

import re
from functools import lru_cache

from flint import fmpq, fmpz

from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable

SHORT_CHARS = 40
MAX_EXPONENT = 4_000  # larger exponents such as 1e9999 are kept as a power and never expanded

_GROUPING = re.compile(r"[\s,{}!\\]")
_MATRICES = frozenset(
    ["matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "array", "smallmatrix"]
)
_ROWS = frozenset(
    [
        "cases",
        "aligned",
        "align",
        "alignedat",
        "gathered",
        "split",
        "eqnarray",
        "gather",
        "equation",
        "dcases",
        "rcases",
    ]
)


def number(written: str) -> Node:
    """Return a literal such as `1,000`, `.5`, `12{,}345.6` or `3e8`
    exactly, never through a float."""
    return _short_number(written) if len(written) <= SHORT_CHARS else _number(written)


def _number(written: str) -> Node:
    mantissa, e, exponent = written.lower().partition("e")
    if not mantissa.isdigit():
        mantissa = _GROUPING.sub("", mantissa)
    whole, _, decimals = mantissa.partition(".")
    value = fmpq(fmpz(whole + decimals), fmpz(10) ** len(decimals))
    if not e:
        return Node("num", (), value, mantissa if decimals or mantissa[0] == "0" else None)
    power = int(exponent)
    if abs(power) > MAX_EXPONENT:
        ten = Node("num", value=fmpq(10))
        raised = Node("pow", (ten, Node("num", value=fmpq(power))))
        return Node("mul", (Node("num", value=value), raised))
    scale = fmpq(fmpz(10) ** abs(power))
    return Node("num", (), value * scale if power >= 0 else value / scale, written)


def repeating_decimal(written: str) -> Node:
    r"""Return `0.1\overline{6}` as 1/6."""
    before, _, after = written.replace("(", "\\").partition("\\")
    whole, _, fixed = before.partition(".")
    cycle = re.sub(r"\D", "", after)
    nines = (fmpz(10) ** len(cycle) - 1) * fmpz(10) ** len(fixed)
    scale = fmpz(10) ** len(fixed)
    base = fmpq(fmpz((whole or "0") + fixed), scale)
    return Node("num", value=base + fmpq(fmpz(cycle), nines))


_short_number = lru_cache(maxsize=4096)(_number)  # long ones would fill the memory


def endless_decimal(node: Node) -> Node:
    """Return `0.1666...` as a fraction: the repeating digits at the end continue forever.

    Raises:
        Unreadable: no digits repeat.
    """
    digits = node.note.partition(".")[2]
    for length in range(1, min(len(digits), 24) // 2 + 1):
        cycle = digits[-length:]
        if digits.endswith(cycle * (3 if length == 1 else 2)):
            return repeating_decimal(f"{node.note}\\overline{{{cycle}}}")
    raise Unreadable("an endless decimal without repeating digits")


def base_literal(digits: str, base: int) -> Node:
    """Return `4210_{7}` with its base, because the same value in another base is another answer."""
    plain = digits.replace(".", "", 1)
    if not 2 <= base <= 36 or not plain.isdigit():
        raise Unreadable(f"{digits} in base {base}")
    if any(int(digit) >= base for digit in plain):
        raise Unreadable(f"{digits} has a digit that is not in base {base}")
    return Node("base", value=(digits.lstrip("0") or "0", base))


def made_environment(name: str, rows: list[list[Node]]) -> Node:
    """Return the node for the rows of environment `name`: a matrix, a
    determinant, cases, or lines."""
    if not rows:
        raise Unreadable("an empty environment")
    if name in _MATRICES:
        if len({len(row) for row in rows}) != 1:
            raise Unreadable("a matrix with rows of different lengths")
        cells = tuple(cell for row in rows for cell in row)
        if name == "array" and all(cell.op == "relation" for cell in cells):
            return Node("list", cells, "and")
        matrix = Node("matrix", cells, (len(rows), len(rows[0])))
        return Node("call", (matrix,), "det") if name == "vmatrix" else matrix
    if name not in _ROWS:
        raise Unreadable(f"environment {name}")
    if name in ("cases", "dcases") and all(len(row) == 2 for row in rows):
        return Node("cases", tuple(cell for row in rows for cell in row))
    lines = tuple(cell for row in rows for cell in row)
    return lines[0] if len(lines) == 1 else Node("list", lines, "and")
