"""What is wrong with an operator's file, on one line: where, what came, what was expected."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def describe(error: ValidationError) -> str:
    """Pydantic's complaints on one line: where, what came, what was expected."""
    return "; ".join(_complaint(problem) for problem in error.errors(include_url=False))


def on_one_line(error: Exception) -> str:
    """What the error says, on one line: YAML's errors draw pictures of where they are."""
    return " ".join(str(error).split())


def _complaint(problem: ErrorDetails) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "value_error":  # a check of ours, which says all that is to be said
        what = problem["msg"].removeprefix("Value error, ")
        return f"{place}: {what}" if place else what
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    return f"{place or 'the whole'}: {problem['msg']} (got {str(problem['input'])[:80]!r})"
