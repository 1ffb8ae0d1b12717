r"""Read derivatives in Leibniz notation: `\frac{dy}{dx}` is a name of its own, not a quotient.

From numerator and denominator, build a name such as `dy/dx` or the computed derivative of an
expression; None for a plain fraction.
"""

from __future__ import annotations

from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.numbers.derivatives import derivative
from touchstone_rewards.reward_server.scorers.math.tree import Node, Unreadable, product_of

MAX_ORDER = 6
TOTAL, PARTIAL = "d", "∂"
SIGNS = frozenset([TOTAL, PARTIAL])
# Letters that may depend on the variable of a total derivative: d/dx of xy is not y.
_DEPENDENT = frozenset("xyzuvwfghrst") | {"theta", "phi", "psi"}


class Differential(Struct, frozen=True, gc=False):
    """A derivative: its sign, the differentiated name, and the variables in order."""

    sign: str
    of: str
    by: tuple[str, ...]

    def spelled(self) -> str:
        """Return the derivative as text: `dy/dx`, `d^2y/dx^2`, `∂^2u/∂x∂y`."""
        order = f"^{len(self.by)}" if len(self.by) > 1 else ""
        below = "".join(self.sign + name for name in dict.fromkeys(self.by))
        return f"{self.sign}{order}{self.of}/{below}{order if len(set(self.by)) == 1 else ''}"


class Operator(Struct, frozen=True):
    """Variables of a derivative and, if it is in the numerator, the differentiated expression."""

    sign: str
    by: tuple[str, ...]
    of: Node | None


def begins(node: Node) -> bool:
    """Tell whether a node begins a derivative: `d`, `∂`, `d^2`."""
    base = node.args[0] if node.op == "pow" else node
    return base.op == "name" and base.value in SIGNS


def operator(above: Node, below: Node) -> Operator | None:
    r"""Return `above / below` as a derivative, or None for a fraction such as `\\frac{da}{b}`."""
    first, *rest = above.args if above.op == "mul" else (above,)
    if not begins(first):
        return None
    sign, order = (first.args[0].value, first.args[1]) if first.op == "pow" else (first.value, None)
    by = _variables(below, sign)
    if by is None or (len(by) > 1 if order is None else not _is(order, len(by))):
        return None
    return Operator(sign, tuple(sorted(by)), product_of(list(rest)) if rest else None)


def _is(order: Node, count: int) -> bool:
    return order.op == "num" and order.value == count


def _variables(below: Node, sign: str) -> list[str] | None:
    """Return the names in `dx`, `dx^2` or `∂x ∂y`, or None for anything else."""
    parts = below.args if below.op == "mul" else ()
    found: list[str] = []
    for at in range(0, len(parts) - 1, 2):
        mark, name = parts[at], parts[at + 1]
        times = 1
        if name.op == "pow" and name.args[1].op == "num" and name.args[1].value.q == 1:
            name, times = name.args[0], int(name.args[1].value.p)
        if mark.op != "name" or mark.value != sign or name.op != "name":
            return None
        if not 1 <= times <= MAX_ORDER:
            return None
        found += [name.value] * times
    return found if parts and len(parts) % 2 == 0 and len(found) <= MAX_ORDER else None


def made(found: Operator, operand: Node | None) -> Node:
    """Return the derivative of `operand`: a name, an expression, or an unevaluated node."""
    if operand is None:
        return Node("other", (), "derivative " + Differential(found.sign, "", found.by).spelled())
    if operand.op == "name" and operand.value not in found.by:
        return named(found.sign, operand.value, found.by)
    if operand.op == "opaque":
        return _of_function(found, operand)
    if found.sign == TOTAL and _names(operand) & _DEPENDENT - set(found.by):
        return Node("other", (operand,), f"derivative by {found.by}")
    try:
        worked_out = operand
        for name in found.by:
            worked_out = derivative(worked_out, name)
    except Unreadable:
        return Node("other", (operand,), f"derivative by {found.by}")
    return Node("derivative", (worked_out,))


def named(sign: str, of: str, by: tuple[str, ...]) -> Node:
    """Return the derivative of an unknown as a name."""
    note = Differential(sign, of, by)
    return Node("name", value=note.spelled(), note=note)


def _of_function(found: Operator, operand: Node) -> Node:
    r"""Return `\\frac{d}{dx} f(x)` as f'(x)."""
    own = tuple(part.value for part in operand.args if part.op == "name")
    if len(own) != len(operand.args) or not set(found.by) <= set(own):
        return Node("other", (operand,), f"derivative by {found.by}")
    if len(own) == 1 and found.sign == TOTAL:
        return Node("opaque", operand.args, operand.value + "'" * len(found.by))
    return named(found.sign, operand.value, found.by)


def _names(node: Node) -> set[str]:
    if node.op in ("name", "index", "opaque"):
        return {str(node.value)}
    return {name for part in node.args for name in _names(part)}
