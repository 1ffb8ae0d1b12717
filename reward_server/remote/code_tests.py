"""Read the tests of a sample: expected output for an input, or asserts.

Tests are only parsed here, never run.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import DecodeError, json

from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers.returned import text_of
from touchstone_rewards.reward_server.scorers.rules.rule import Unscorable, field

# A test in a language other than Python prints this when it passes; a nonce replaces it.
PASSED = "TOUCHSTONE_PASSED"


class StdioTest(NamedTuple):
    """Standard input for a program, and the output that it must print."""

    stdin: str
    stdout: str


class CodeTests(NamedTuple):
    """Tests of one program; only one of the two lists is filled."""

    stdio: Sequence[StdioTest] = ()
    asserts: Sequence[str] = ()


def tests_of(sample: Sample, path: str, language: str) -> CodeTests:
    """Return the tests in a field of a sample: `ground_truth` or `metadata.NAME`.

    Asserts are a text or a list of texts. Tests with inputs and outputs are a list of objects with
    `input` and `output`, or an object with the lists `inputs` and `outputs`. All may also be JSON
    in a string.

    Example:
        >>> tests_of(Sample("a", "…", ground_truth="assert f(1) == 2"), "ground_truth", "python")
        CodeTests(stdio=(), asserts=['assert f(1) == 2'])

    Raises:
        Unscorable: there are no tests, or they have another form.
    """
    given = field(sample, path)
    if isinstance(given, str):
        given = _decoded(given)
    if is_object(given):
        return CodeTests(stdio=_columns(given))
    tests: list[Any] = given if is_list(given) else [given]
    if not tests:
        raise Unscorable("bad_ground_truth", f"{path} has no tests")
    if all(is_object(test) for test in tests):
        return CodeTests(stdio=_with_output([_stdio(test) for test in tests]))
    if not all(isinstance(test, str) and test.strip() for test in tests):
        raise Unscorable(
            "bad_ground_truth",
            f"{path} is not a list of asserts or of objects with input and output",
        )
    for test in tests:
        _check_assert(test, language)
    return CodeTests(asserts=tests)


def _decoded(text: str) -> Any:
    """Decode a text that looks like a JSON list or object; return any other text unchanged."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.decode(text.encode(errors="replace"))
    except (DecodeError, RecursionError):
        return text


def _columns(given: dict[str, Any]) -> list[StdioTest]:
    if given.get("fn_name"):
        message = "tests with fn_name call a function: write them as asserts"
        raise Unscorable("bad_ground_truth", message)
    inputs, outputs = given.get("inputs"), given.get("outputs")
    if inputs is None and outputs is None and "output" in given:
        return _with_output([_stdio(given)])
    if not is_list(inputs) or not is_list(outputs) or len(inputs) != len(outputs) or not inputs:
        raise Unscorable(
            "bad_ground_truth", "inputs and outputs must be two lists of the same length"
        )
    pairs = [{"input": one, "output": other} for one, other in zip(inputs, outputs, strict=True)]
    return _with_output([_stdio(pair) for pair in pairs])


def _stdio(test: dict[str, Any]) -> StdioTest:
    stdin, stdout = test.get("input", ""), test.get("output")
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise Unscorable("bad_ground_truth", "a test's input and output are not both texts")
    return StdioTest(text_of(stdin), text_of(stdout))


def _with_output(tests: list[StdioTest]) -> list[StdioTest]:
    """Return the tests if at least one expects output.

    Raises:
        Unscorable: none does, so a program that does nothing would pass.
    """
    if not any(test.stdout.strip() for test in tests):
        raise Unscorable(
            "bad_ground_truth",
            "no test expects any output, so a program that does nothing would pass",
        )
    return tests


@lru_cache(maxsize=4096)
def _check_assert(test: str, language: str) -> None:
    """Check that a test can fail and, in languages other than Python, that it reports success.

    Raises:
        Unscorable: the test cannot be used.
    """
    if language != "python":
        if PASSED not in test:
            raise Unscorable("bad_ground_truth", f"a test in {language} does not print {PASSED}")
        return
    try:
        tree = ast.parse(text_of(test))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        message = f"a test is not valid Python: {text_of(test)[:80]!r}"
        raise Unscorable("bad_ground_truth", message) from None
    if not any(isinstance(node, ast.Assert | ast.Raise | ast.Call) for node in ast.walk(tree)):
        message = f"a test asserts nothing: {text_of(test)[:80]!r}"
        raise Unscorable("bad_ground_truth", message)


def same_output(printed: str, expected: str) -> bool:
    r"""Tell whether the output of a program is the expected one.

    Lines are compared without trailing spaces; empty lines at the end are ignored.

    Example:
        >>> same_output("1 \n2\n\n", "1\n2")
        True
    """
    return _lines(printed) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
