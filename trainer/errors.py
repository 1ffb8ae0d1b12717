"""The two errors that end a command, and their exit codes.

InputError   the arguments, files or services given cannot be used   exit 2
RunFailed    the run had to stop although its input was good         exit 1

Both carry one message that says what was found, what was expected and what to do. `told` turns
errors of libraries into one line too.
"""

from __future__ import annotations

from touchstone_rewards.extras import advice


class InputError(Exception):
    """The arguments, files or services given cannot be used; the message says what to do."""

    exit_code = 2


class RunFailed(Exception):
    """The run had to stop although its input was good."""

    exit_code = 1


SHOWN_CHARACTERS = 400
# Errors that libraries raise on purpose, with a message for the user; any other type is a bug.
ON_PURPOSE = (OSError, ValueError, RuntimeError, ImportError, MemoryError, NotImplementedError)


def told(error: Exception) -> tuple[str, int]:
    """Return a one-line message for any error, and the exit code.

    Example:
        told(OSError("no model x\nand a page of advice"))
        # "no model x (OSError; --traceback shows where)", 1
    """
    if isinstance(error, InputError | RunFailed):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and (line := advice(error, "train")):
        return line, 2
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join((lines or ["no message"])[0].split())[:SHOWN_CHARACTERS]
    name = type(error).__name__
    if isinstance(error, ON_PURPOSE):
        return f"{said} ({name}; --traceback shows where)", 1
    return f"a bug in touchstone, {name}: {said}; --traceback shows where", 1
