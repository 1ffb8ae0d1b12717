"""Child processes that end with this one, also when this one is killed. Linux only; elsewhere none.

In: nothing. Out: what `subprocess` runs in the child before its program starts.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable

PARENT_DIED_SIGNAL = 1  # prctl(2): PR_SET_PDEATHSIG


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn`, for programs started anew: nothing of this process matters to them."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def ask() -> None:
        if libc is not None:
            libc.prctl(PARENT_DIED_SIGNAL, signal.SIGKILL)

    return ask
