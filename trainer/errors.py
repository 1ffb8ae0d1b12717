"""The two ways a command ends badly, and the exit code of each.

InputError   what the user typed or pointed at cannot work   exit 2
RunFailed    the run itself had to stop                      exit 1

Both carry one line that says what came, what was expected and what to do.
"""

from __future__ import annotations


class InputError(Exception):
    exit_code = 2


class RunFailed(Exception):
    exit_code = 1
