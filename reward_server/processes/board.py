"""Counters in shared memory of the processes of one server: pending samples, debts of keys.

The memory is created before the processes are forked. A counter has a single writer, or is written
under the lock, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import tempfile
import time
from collections.abc import MutableSequence, Sequence
from typing import cast

from touchstone_rewards.reward_server.limits import SharedCounts

NUMBER_BYTES = 8
# The last numbers of a row, after the pending samples of each process: the debt and its time.
DEBT = 2


class Board:
    """A row of counters for the whole server, and one for each key.

    Example:
        >>> board = Board(["trainer"], processes=2)
        >>> board.counted("trainer", 0).add(3), board.counted("trainer", 1).add(4)
        (None, None)
        >>> board.counted("trainer", 0).pending_samples
        7
    """

    def __init__(self, keys: Sequence[str], processes: int) -> None:
        self.processes = processes
        self._rows = {name: row for row, name in enumerate(["", *keys])}
        self._width = processes + DEBT
        self._memory = mmap.mmap(-1, len(self._rows) * self._width * NUMBER_BYTES)
        self._numbers = memoryview(self._memory).cast("d")
        for row in self._rows.values():
            self._row(row)[-1] = time.monotonic()
        self._lock = _FileLock()

    def counted(self, key: str, place: int) -> SharedCounts:
        """Return the counters of a key for the process at `place`; the key "" is the server's."""
        row = cast("MutableSequence[float]", self._row(self._rows[key]))
        return SharedCounts(row[: self.processes], row[self.processes :], place, self._lock)

    def forget(self, place: int) -> None:
        """Clear the pending samples of a process that has died."""
        for row in self._rows.values():
            self._row(row)[place] = 0.0

    def _row(self, row: int) -> memoryview[float]:
        return self._numbers[row * self._width : (row + 1) * self._width]


class _FileLock:
    """A lock between processes on an unnamed file, held for some microseconds."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, open as long as the server

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)
