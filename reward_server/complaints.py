"""Describe the faults of an operator's file on one line: where, what came, what was expected."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def describe(error: ValidationError) -> str:
    """Return Pydantic's complaints on one line: where, what came, what was expected."""
    return "; ".join(_complaint(problem) for problem in error.errors(include_url=False))


def on_one_line(error: Exception) -> str:
    """Return the error's message on one line: YAML's messages span several."""
    return " ".join(str(error).split())


def _complaint(problem: ErrorDetails) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "value_error":  # a check of ours, whose message is complete
        what = problem["msg"].removeprefix("Value error, ")
        return f"{place}: {what}" if place else what
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    return f"{place or 'the whole'}: {problem['msg']} (got {str(problem['input'])[:80]!r})"
