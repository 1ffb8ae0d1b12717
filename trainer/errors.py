"""The two ways a command ends badly, and the exit code of each.

InputError   what the user typed or pointed at cannot work   exit 2
RunFailed    the run itself had to stop                      exit 1

Both carry one line that says what came, what was expected and what to do. What a library raises is
told in one line too.
"""

from __future__ import annotations

from touchstone_rewards.extras import advice


class InputError(Exception):
    """What was typed or pointed at cannot work; the message says what to do."""

    exit_code = 2


class RunFailed(Exception):
    """The run itself had to stop, though its input was good."""

    exit_code = 1


SHOWN_CHARACTERS = 400
# What a library raises on purpose, with words for its user; any other error is one of a program.
ON_PURPOSE = (OSError, ValueError, RuntimeError, ImportError, MemoryError, NotImplementedError)


def told(error: Exception) -> tuple[str, int]:
    """Return the line for an error of any kind, and the exit code.

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
    return f"an error that is none of yours, {name}: {said}; --traceback shows where", 1
