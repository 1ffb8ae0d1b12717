"""Two reward functions that fail as a server's plug-ins do: slowly, and in four ways at once."""

from __future__ import annotations

import os
import signal
import time

HANGS_S = 3600


def slow(response: str) -> float:
    """Return a reward after a while."""
    time.sleep(0.5)
    return len(response) / 97


def faulty(response: str, ground_truth: str) -> float | None:
    """Kill its process, hang, raise or return None if the response's first word says so."""
    fault = response.split(" ", 1)[0]
    if fault == "killed_worker":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hung_worker":
        time.sleep(HANGS_S)
    if fault == "raised":
        raise ValueError("as told")
    if fault == "gave_none":
        return None
    return len(response) / 97 + len(ground_truth)
