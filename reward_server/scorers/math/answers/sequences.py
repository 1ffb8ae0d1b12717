r"""Read items that follow a rule: `1, 2, \ldots, 10`, `2, 4, 6, \ldots`, and numbered parts.

progression  args: the first value, the step, the last one, which is not a number
parts        args: the answers to (1), (2), … in that order
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.answers.whole_numbers import (
    PARAMETER,
    family,
)
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import same_value
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node, Unreadable

MAX_ITEMS = 400
MAX_PARTS = 12

_DOTS = Node("name", value="…")
_MARK = re.compile(r"\((?P<name>[1-9]|[a-h]|i{1,3}|iv|v)\)[.:]?")
_NAMES = (tuple("123456789"), tuple("abcdefgh"), ("i", "ii", "iii", "iv", "v"))


def written_out(items: Sequence[Node]) -> Node | None:
    """Expand a list with one `…`: into all its numbers, an infinite family, or a progression.

    The last value of a progression is a formula. Return None if the rule is unclear.
    """
    if items.count(_DOTS) != 1 or len(items) < 3:
        return None
    at = items.index(_DOTS)
    before, after = items[:at], items[at + 1 :]
    if any(item.op != "num" for item in before):
        return None
    step = before[1].value - before[0].value if len(before) > 1 else fmpq(1)
    steps = [b.value - a.value for a, b in pairwise(before)]
    if step == 0 or any(other != step for other in steps):
        return None
    if not after:
        return _endless(before, step) if len(before) > 1 else None
    if all(item.op == "num" for item in after):
        return _finite(before[0].value, step, after)
    return _open(before, step, after) if len(before) > 1 else None


def _finite(first: fmpq, step: fmpq, after: Sequence[Node]) -> Node | None:
    last = after[-1].value
    count = (last - first) / step
    if count.q != 1 or not 0 < count < MAX_ITEMS:
        return None
    ends = [last - step * back for back in range(len(after) - 1, -1, -1)]
    if any(item.value != end for item, end in zip(after, ends, strict=True)):
        return None
    values = [first + step * number for number in range(int(count.p) + 1)]
    return Node("list", tuple(Node("num", value=value) for value in values), ",")


def _endless(before: Sequence[Node], step: fmpq) -> Node:
    multiple = Node("mul", (Node("num", value=step), PARAMETER))
    return family((Node("add", (multiple, before[0])),), 0, "k", None)


def _open(before: Sequence[Node], step: fmpq, after: Sequence[Node]) -> Node | None:
    r"""Return `1, 2, \ldots, n - 1, n` as a progression."""
    last, by = after[-1], Node("num", value=step)
    if any(item.op not in VALUES for item in after) or len(after) > 2:
        return None
    if len(after) == 2 and not same_value(Node("add", (after[0], by)), last, 1)[0]:
        return None
    return Node("progression", (before[0], by, last))


def in_parts(text: str, read: Callable[[str], Node]) -> Node | None:
    """Return `(1) 3 (2) 5` as the answers to its parts, or None."""
    if text[0] != "(" or (first := _MARK.match(text)) is None:
        return None
    names = next((row for row in _NAMES if row[0] == first["name"]), None)
    if names is None:
        return None
    parts: list[str] = []
    end = first.end()
    for name in names[1:]:
        at = text.find(f"({name})", end)
        if at < 0:
            break
        if text[at - 1] not in " ;,.$}\n":
            return None
        parts.append(text[end:at])
        end = _MARK.match(text, at).end()  # type: ignore[union-attr]
    parts.append(text[end:])
    plain = [part.strip(" ;,.$\n") for part in parts]
    if len(plain) < 2 or not all(plain):
        return None
    try:
        return Node("parts", tuple(map(read, plain)))
    except Unreadable:
        return None
