"""Python asserts: the harness program that runs them in the sandbox, and its report.

A test counts as passed only if the report confirms it with a nonce made for this run. A program
that exits before its tests, or prints a fake report, passes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from msgspec import json

from touchstone_rewards.reward_server.remote.code_runs import (
    SandboxRun,
    TestedProgram,
    TestOutcome,
)

_FOLDER = Path(__file__).parent / "sandboxed"
ASSERTS = (_FOLDER / "asserts.txt").read_text(encoding="utf-8")
HARNESS = ASSERTS + (_FOLDER / "report.txt").read_text(encoding="utf-8")
DIGEST = sha256(HARNESS.encode()).hexdigest()[:12]
_SYNTAX = {"SyntaxError", "IndentationError", "TabError"}
_KINDS: dict[str, TestOutcome] = {"AssertionError": "wrong_answer"}


def harness_input(program: str, tests: Sequence[str], nonce: str) -> str:
    """Return the standard input of the harness."""
    given = {"nonce": nonce, "program": program, "tests": tests}
    return json.encode(given).decode()


def guarded(test: str) -> str:
    """Return a test for a service that appends each test to the program and runs it."""
    return f"{ASSERTS}\n\n__touchstone_test__({test!r}, globals())\n"


def reported(run: SandboxRun, count: int, nonce: str) -> TestedProgram | None:
    """Return the outcome of each of `count` tests; None if the sandbox lost the output.

    The harness prints a line before anything else runs, so a report without it was lost.
    """
    lines = [line.split() for line in run.stdout.splitlines()]
    told = [words[1:] for words in lines if words and words[0] == nonce]
    if ["begin"] not in told and run.ended != "output_limit":
        return None
    outcomes: dict[int, TestOutcome] = {}
    rest: TestOutcome = "runtime_error" if run.ended == "passed" else run.ended
    note = "" if ["end"] in told else "the program ended before its tests did"
    for words in told:
        if words[0] == "program":
            rest = "compile_error" if words[1] in _SYNTAX else "runtime_error"
            note = f"the program raised {words[1]}"
        elif words[0] == "passed":
            outcomes[int(words[1])] = "passed"
        elif words[0] == "failed":
            outcomes[int(words[1])] = _KINDS.get(words[2], "runtime_error")
    return TestedProgram([outcomes.get(at, rest) for at in range(count)], run.stderr, note)
