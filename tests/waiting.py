"""Wait for events that must come, with patience for a busy machine.

A test fails at once where what it waits for can no longer come. The patience is for a hang only.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE_S = 600.0


def wait_until(condition: Callable[[], object], pause_s: float = 0.02) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it never did.
    """
    gives_up_at_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > gives_up_at_s:
            raise TimeoutError("this never came about")
        time.sleep(pause_s)


async def until(condition: Callable[[], object], pause_s: float = 0.005) -> None:
    """Return as soon as the condition holds; the event loop runs meanwhile.

    Raises:
        TimeoutError: it never did.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(pause_s)


def longer_and_longer(first_s: float) -> tuple[float, ...]:
    """Yield time limits to try in turn for an event that must be seen within one; on a quiet
    machine the first is enough.
    """
    return first_s, 6 * first_s, 36 * first_s, 216 * first_s


def skip_time(monkeypatch: pytest.MonkeyPatch, skipped_s: float) -> None:
    """Advance the running event loop's clock: timers that are set within this time end now.

    So a worker that is still starting would be late: have none left to start, spares included.
    """
    loop = asyncio.get_running_loop()
    time_s = loop.time
    monkeypatch.setattr(loop, "time", lambda: time_s() + skipped_s)


def kill_when_there(process: subprocess.Popen[bytes] | subprocess.Popen[str], *there: Path) -> None:
    """Kill the process, itself alone, as soon as these files exist."""

    def all_there() -> bool:
        if all(path.exists() for path in there):
            return True
        assert process.poll() is None, "the run ended before it could be killed"
        return False

    wait_until(all_there, pause_s=0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
