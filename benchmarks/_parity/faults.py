"""Reward functions for a server with bad plug-ins: a slow one, and one that fails in four ways."""

from __future__ import annotations

import os
import signal
import time

HANGS_S = 3600


def slow(response: str) -> float:
    """Return a reward after half a second."""
    time.sleep(0.5)
    return len(response) / 97


def faulty(response: str, ground_truth: str) -> float | None:
    """Kill the process, hang, raise or return None, by the response's first word."""
    fault = response.split(" ", 1)[0]
    if fault == "killed_worker":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hung_worker":
        time.sleep(HANGS_S)
    if fault == "raised":
        raise ValueError("raised on purpose")
    if fault == "gave_none":
        return None
    return len(response) / 97 + len(ground_truth)
