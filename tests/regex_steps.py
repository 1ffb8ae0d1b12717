"""Count the steps that a backtracking engine takes over a text: the same number on every machine.

A pattern is compiled to a small program and run by a loop with a stack of alternatives, as `re`
runs it. Single characters, anchors and lookbehinds are asked of `re` itself, one step each.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # isort: skip

Mode = Literal["match", "fullmatch", "scan"]
Code = list[tuple[Any, ...]]
MAX_COPIES = 1_000  # of the body of one bounded repeat

_REPEATS = {
    _constants.MAX_REPEAT: "greedy",
    _constants.MIN_REPEAT: "lazy",
    _constants.POSSESSIVE_REPEAT: "possessive",
}


class OutOfSteps(Exception):
    """The run used up its steps."""


class Program(NamedTuple):
    """A compiled pattern; `slots`: the number of positions that a run remembers."""

    code: Code
    slots: int


class _Builder:
    def __init__(self, tree: Any) -> None:
        self.state = tree.state
        self.slots = 2 * tree.state.groups

    def slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def test(self, node: Any, flags: int) -> Any:
        """Return a function that asks `re` about one node at a place: `test(text, at)`."""
        single = _parser.SubPattern(self.state, [node])
        return _compiler.compile(single, flags).match

    def sequence(self, nodes: Any, flags: int) -> Code:
        return [step for node in nodes for step in self.node(node, flags)]

    def node(self, node: Any, flags: int) -> Code:
        op, what = node
        if op in _REPEATS:
            low, high, body = what
            return self.repeat(_REPEATS[op], low, high, body, flags)
        if op is _constants.BRANCH:
            return self.branch([self.sequence(each, flags) for each in what[1]])
        if op is _constants.SUBPATTERN:
            number, add, remove, inner = what
            return self.group(number, add, remove, inner, flags)
        if op is _constants.ATOMIC_GROUP:
            return [("atomic", self.sequence(what, flags))]
        if op in (_constants.ASSERT, _constants.ASSERT_NOT) and what[0] > 0:
            return [("look", self.sequence(what[1], flags), op is _constants.ASSERT_NOT)]
        if op in (_constants.ASSERT, _constants.ASSERT_NOT, _constants.AT):
            return [("at", self.test(node, flags))]
        if op is _constants.GROUPREF:
            return [("ref", what)]
        if op is _constants.GROUPREF_EXISTS:
            raise NotImplementedError("a condition on a group")
        return [("char", _remembering(self.test(node, flags)))]

    def group(self, number: int | None, add: int, remove: int, nodes: Any, flags: int) -> Code:
        inner = self.sequence(nodes, (flags | add) & ~remove)
        if number is None:
            return inner
        return [("save", 2 * number), *inner, ("save", 2 * number + 1)]

    def branch(self, codes: list[Code]) -> Code:
        size = 1 + sum(len(code) + 1 for code in codes)
        made: Code = [("branch", ways := [], {})]
        for code in codes:
            ways.append((_first_test(code), len(made)))
            made += code
            made.append(("jump", size - len(made)))
        return made

    def repeat(self, kind: str, low: int, high: Any, nodes: Any, flags: int) -> Code:
        body = self.sequence(nodes, flags)
        code = [step for _ in range(min(low, MAX_COPIES)) for step in body]
        greedy = kind != "lazy"
        if high is _constants.MAXREPEAT or high > MAX_COPIES:
            slot, size = self.slot(), len(body)
            split = (1, size + 4) if greedy else (size + 4, 1)
            code += [("split", *split), ("save", slot), *body, ("moved", slot)]
            code.append(("jump", -(size + 3)))
        else:
            code += self.optional(body, high - low, greedy)
        return [("atomic", code)] if kind == "possessive" else code

    def optional(self, body: Code, times: int, greedy: bool) -> Code:
        code: Code = []
        for _ in range(times):
            past = len(body) + len(code) + 1
            code = [("split", 1, past) if greedy else ("split", past, 1), *body, *code]
        return code


def _first_test(code: Code) -> Any:
    """Return the test that the next character must pass for `code` to match, or None if there is no
    such simple test.
    """
    first = next((step for step in code if step[0] != "save"), None)
    return first[1] if first is not None and first[0] == "char" else None


def _ways(branch: tuple[Any, ...], character: str) -> list[int]:
    """Return the starts of the alternatives that may match before `character`, the first one last.

    `re` does not try those that begin with another character either.
    """
    found = branch[2].get(character)
    if found is None:
        ways = [at for test, at in branch[1] if test is None or (character and test(character))]
        found = branch[2][character] = ways[::-1]
    return found


def _remembering(test: Any) -> Any:
    return lru_cache(maxsize=None)(lambda character: test(character) is not None)


def program(pattern: re.Pattern[Any]) -> Program:
    """Return the program of a compiled pattern."""
    written = pattern.pattern
    text = written.decode("latin-1") if isinstance(written, bytes) else written
    flags = pattern.flags & ~re.UNICODE if isinstance(written, bytes) else pattern.flags
    tree = _parser.parse(text, flags)
    builder = _Builder(tree)
    code = builder.sequence(tree, tree.state.flags)
    return Program(code, builder.slots)


class Run:
    """A count of steps, up to `most`."""

    def __init__(self, text: str, most: int) -> None:
        self.text = text
        self.left = self.most = most

    @property
    def steps(self) -> int:
        return self.most - self.left

    def attempt(self, made: Program, at: int, whole: bool = False) -> int | None:
        """Return where a match that begins at `at` ends, or None.

        Raises:
            OutOfSteps: nothing is left to spend.
        """
        found = self.run(made.code, at, (None,) * made.slots, whole)
        return None if found is None else found[0]

    def run(
        self, code: Code, at: int, saved: tuple[int | None, ...], whole: bool = False
    ) -> tuple[int, tuple[int | None, ...]] | None:
        text, end, step, size = self.text, len(self.text), 0, len(code)
        stack: list[tuple[int, int, tuple[int | None, ...]]] = []
        while True:
            self.left -= 1
            if self.left < 0:
                raise OutOfSteps
            if step == size:
                if not whole or at == end:
                    return at, saved
                good = False
            else:
                op = code[step]
                kind = op[0]
                good = True
                if kind == "char":
                    good = at < end and op[1](text[at])
                    at, step = at + 1, step + 1
                elif kind == "split":
                    stack.append((step + op[2], at, saved))
                    step += op[1]
                elif kind == "branch":
                    ways = _ways(op, text[at : at + 1])
                    good = bool(ways)
                    stack += [(step + way, at, saved) for way in ways[:-1]]
                    step += ways[-1] if ways else 0
                    self.left -= len(ways)
                elif kind == "jump":
                    step += op[1]
                elif kind == "save":
                    saved = (*saved[: op[1]], at, *saved[op[1] + 1 :])
                    step += 1
                elif kind == "moved":
                    good = saved[op[1]] != at
                    step += 1
                elif kind == "at":
                    good = op[1](text, at) is not None
                    step += 1
                elif kind == "look":
                    good = (self.run(op[1], at, saved) is None) == op[2]
                    step += 1
                elif kind == "atomic":
                    inner = self.run(op[1], at, saved)
                    good = inner is not None
                    at, saved = inner if inner is not None else (at, saved)
                    step += 1
                else:
                    start, stop = saved[2 * op[1]], saved[2 * op[1] + 1]
                    good = start is not None and text.startswith(text[start:stop], at)
                    at += (stop or 0) - (start or 0)
                    step += 1
            if not good:
                if not stack:
                    return None
                step, at, saved = stack.pop()


def count_steps(made: Program, text: str, mode: Mode, most: int = 10_000_000) -> int:
    """Return the steps of one match at the start, one of the whole text, or a scan of all of it.

    A scan goes on behind each match, as `finditer` and `sub` do; a search is a part of a scan.
    """
    run = Run(text, most)
    try:
        if mode != "scan":
            run.attempt(made, 0, mode == "fullmatch")
            return run.steps
        at = 0
        while at <= len(text):
            end = run.attempt(made, at)
            at = end if end is not None and end > at else at + 1
    except OutOfSteps:
        return most
    return run.steps
