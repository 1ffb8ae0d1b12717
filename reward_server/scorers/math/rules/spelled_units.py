r"""Read units in letters that were parsed as variables: `5 m`, `5 m\,s^{-1}`, `5 \frac{kg}{m^3}`.

Each way to read an expression as a quantity is tried, but only if the other side has a unit,
because `5 m` alone is a product.
"""

from __future__ import annotations

from flint import fmpq
from msgspec import Struct

from touchstone_rewards.reward_server.scorers.math.grammar.units import Parts, is_unit
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import is_constant
from touchstone_rewards.reward_server.scorers.math.tree import Node, product_of

_ONE = fmpq(1)
MAX_LETTERS = 24
MAX_READINGS = 16
_LONGEST_SYMBOL = 4
_SPELLED = {"mu": "µ", "Omega": "Ω", "ell": "l"}


class _Letter(Struct, frozen=True):
    """A letter or word of a unit: whether it is in the denominator, and its power."""

    text: str
    side: int
    power: int


def spelled_quantities(node: Node) -> list[Node]:
    """Return the quantities that `node` may spell: `5 m s` is in metre seconds or milliseconds."""
    numbers: list[Node] = []
    letters: list[_Letter] = []
    if not _collect(node, 1, numbers, letters) or not numbers or len(letters) > MAX_LETTERS:
        return []
    value = product_of(numbers)
    return [Node("quantity", (value,), parts) for parts in _readings(letters) if parts]


def _collect(node: Node, side: int, numbers: list[Node], letters: list[_Letter]) -> bool:
    """Sort the factors of `node` into numbers and letters; False if one is neither."""
    op = node.op
    if op == "mul":
        return all(_collect(part, side, numbers, letters) for part in node.args)
    if op == "div":
        above, below = node.args
        return _collect(above, side, numbers, letters) and _collect(below, -side, numbers, letters)
    if op == "neg":
        numbers.append(Node("neg", (Node("num", value=_ONE),)))
        return _collect(node.args[0], side, numbers, letters)
    if op == "quantity":
        letters += [_Letter(word, side, power) for word, power in node.value]
        return _collect(node.args[0], side, numbers, letters)
    if (letter := _letter(node, side)) is not None:
        letters.append(letter)
        return True
    if not is_constant(node):
        return False
    numbers.append(node if side > 0 else Node("div", (Node("num", value=_ONE), node)))
    return True


def _letter(node: Node, side: int) -> _Letter | None:
    power = 1
    if node.op == "pow" and node.args[1].op == "num" and node.args[1].value.q == 1:
        power, node = int(node.args[1].value.p), node.args[0]
    if node.op == "const" and node.value == "e" and power == 1:
        return _Letter("e", side, power)  # of eV
    if node.op in ("name", "text") and isinstance(node.value, str) and abs(power) < 10:
        return _Letter(_SPELLED.get(node.value, node.value), side, power)
    return None


def _readings(letters: list[_Letter]) -> list[Parts]:
    """Return the ways to read the letters as units, with one or more letters per symbol."""
    ways: list[list[Parts]] = [[()]]  # ways[n]: of the first n letters
    for end in range(1, len(letters) + 1):
        found: list[Parts] = []
        for start in range(max(0, end - _LONGEST_SYMBOL), end):
            if ways[start] and (part := _symbol(letters[start:end])):
                found += [(*before, part) for before in ways[start]]
        ways.append(found[:MAX_READINGS])
    return ways[-1]


def _symbol(run: list[_Letter]) -> tuple[str, int] | None:
    """Return the unit spelled by these letters, with its power; None if there is none."""
    last = run[-1]
    if any(letter.power != 1 or letter.side != last.side for letter in run[:-1]):
        return None
    symbol = "".join(letter.text for letter in run)
    return (symbol, last.side * last.power) if is_unit(symbol) else None
