"""Make texts that a pattern may be slow on, from the pattern's own parse tree.

A backtracking engine is slow where one stretch of text can be shared out among several repeats, or
where a search reads the same stretch again from each start. So: fill every repeat, alone and all
together, with the characters that most of them take, and end the text so that the rest must fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # isort: skip

MANY = 8  # from here on a repeat is one to fill
MOST_ATOMS = 14
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)
_COMMON = "aZ19 \n\t.,:;!?$\\{}()[]<>|/_-+=*#&'\"é中\x00"
_CHARACTERS = (
    _constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.CATEGORY,
)  # fmt: skip
_AROUND = (_constants.ASSERT, _constants.ASSERT_NOT)


class Shape:
    """A parsed pattern: its repeats, and one character for each set of nodes that take it."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        written = pattern.pattern
        text = written.decode("latin-1") if isinstance(written, bytes) else written
        flags = pattern.flags & ~re.UNICODE if isinstance(written, bytes) else pattern.flags
        self.tree = _parser.parse(text, flags)
        self.flags = self.tree.state.flags
        nodes = list(_walk(self.tree))
        self.tests = {id(n): self._test(n) for n in nodes if n[0] in _CHARACTERS}
        self.loops = [n for n in nodes if n[0] in _REPEATS and _is_long(n[1][1])]
        bounds = [n[1][1] for n in nodes if n[0] in _REPEATS and n[1][1] < 2_000]
        self.largest_bound = max([1, *bounds])
        self.atoms = self._atoms(nodes)

    def _test(self, node: Any) -> Any:
        single = _parser.SubPattern(self.tree.state, [node])
        match = _compiler.compile(single, self.flags).match
        return lru_cache(maxsize=None)(lambda character: match(character) is not None)

    def _atoms(self, nodes: list[Any]) -> list[str]:
        """Return one character for each set of nodes, those of the largest sets first."""
        written = {chr(n[1]) for n in nodes if n[0] is _constants.LITERAL}
        for node in nodes:
            if node[0] is _constants.IN:
                for op, what in node[1]:
                    if op is _constants.LITERAL:
                        written.add(chr(what))
                    elif op is _constants.RANGE:
                        written.add(chr(what[0]))
        found: dict[tuple[bool, ...], str] = {}
        for character in [*_COMMON, *sorted(written)]:
            taken = [test(character) for test in self.tests.values()]
            about = [character == "\n", character.isalnum() or character == "_"]  # for anchors
            found.setdefault((*taken, *about), character)
        ranked = sorted(found.items(), key=lambda item: -sum(item[0]))
        return [character for _, character in ranked][:MOST_ATOMS]

    def sample(self, nodes: Any, count: int, prefer: str, pick: int = 0) -> str:
        """Return a text that `nodes` may match: long repeats `count` times, optional parts if
        `count` is above 0, characters `prefer` where possible, the `pick`-th of each set of
        branches.
        """
        return "".join(self._one(node, count, prefer, pick) for node in nodes)

    def _one(self, node: Any, count: int, prefer: str, pick: int) -> str:
        op, what = node
        if op in _CHARACTERS:
            test = self.tests[id(node)]
            return next((c for c in (*prefer, *self.atoms, *_COMMON) if test(c)), "")
        if op in _REPEATS:
            low, high, body = what
            times = max(low, min(count, high)) if _is_long(high) else max(low, min(count, 1))
            return self.sample(body, min(count, 1), prefer, pick) * times
        if op is _constants.BRANCH:
            return self.sample(what[1][pick % len(what[1])], count, prefer, pick)
        if op is _constants.SUBPATTERN:
            return self.sample(what[3], count, prefer, pick)
        return self.sample(what, count, prefer, pick) if op is _constants.ATOMIC_GROUP else ""

    def before(self, loop: Any, count: int) -> str:
        """Return a text that leads to `loop`."""
        found = self._before(self.tree, loop, count)
        return found or ""

    def _before(self, nodes: Any, loop: Any, count: int) -> str | None:
        led = ""
        for node in nodes:
            if node is loop:
                return led
            for inner in _inner(node):
                if (found := self._before(inner, loop, count)) is not None:
                    return led + found
            led += self._one(node, count, "", 0)
        return None


def _is_long(high: Any) -> bool:
    return high is _constants.MAXREPEAT or high >= MANY


def _inner(node: Any) -> list[Any]:
    op, what = node
    if op in _REPEATS:
        return [what[2]]
    if op is _constants.BRANCH:
        return list(what[1])
    if op is _constants.SUBPATTERN:
        return [what[3]]
    if op is _constants.ATOMIC_GROUP:
        return [what]
    return [what[1]] if op in _AROUND else []


def _walk(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for inner in _inner(node):
            yield from _walk(inner)


def attacks(shape: Shape, size: int) -> Iterator[str]:
    """Yield the texts, each with about `size` characters to share out; a longer `size` yields as
    many, in the same order."""
    atoms = shape.atoms
    tails = ["", "\x00", "!", *atoms[:4]]
    for atom, tail in product(atoms, tails):
        yield atom * size + tail
    for one, other in product(atoms, atoms):
        if one != other:
            yield (one + other) * (size // 2)
            yield one * (size // 2) + other + one * (size // 2)
    yield from _filled(shape, size, tails)
    for loop in shape.loops:
        yield from _on_one_loop(shape, loop, size, tails)


def _filled(shape: Shape, size: int, tails: list[str]) -> Iterator[str]:
    """Yield the whole pattern with all its repeats filled at once, then cut off or spoiled."""
    for atom, pick in product(shape.atoms, range(4)):
        whole = shape.sample(shape.tree, size // 4, atom, pick)
        for tail in tails[:3]:
            yield whole + tail
            yield whole[: -1 - size // 8] + tail
        short = shape.sample(shape.tree, 1, atom, pick)
        yield short * max(1, size // max(1, len(short)))


def _on_one_loop(shape: Shape, loop: Any, size: int, tails: list[str]) -> Iterator[str]:
    bodies = {shape.sample(loop[1][2], 1, atom, pick) for atom in shape.atoms for pick in range(3)}
    bodies |= {shape.sample(loop[1][2], 0, atom, 0) for atom in shape.atoms}
    leads = {shape.before(loop, 0), shape.before(loop, 1)}
    for lead, body in product(sorted(leads), sorted(bodies - {""})):
        times = max(1, size // len(body))
        for tail in tails:
            yield lead + body * times + tail
        both = lead + body * 2
        yield both * max(1, size // len(both))
        yield lead * max(1, size // 2 // max(1, len(lead))) + body * (times // 2)
