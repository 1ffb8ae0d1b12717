"""The processes that come of the fork server, and the end of those that a scorer leaves behind.

A worker's process group is killed with the worker. What a scorer started in a session of its own is
in no such group: when the worker dies it becomes a child of the fork server, its subreaper, which
knows its own children and kills any other.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path


class Family:
    """The fork server's children that are to live.

    `workers`: those it forked. `kept`: what scorers started while they were built.
    """

    def __init__(self) -> None:
        self.workers: set[int] = set()
        self.kept: set[int] = set()
        self._growing = False

    @contextmanager
    def growing(self) -> Generator[None]:
        """Inside, scorers are built, and the processes that they start are kept."""
        self._growing = True
        try:
            yield
        finally:
            self.kept |= _children()[os.getpid()] - self.workers
            self._growing = False

    def reap(self, *_: object) -> None:
        """Collect the children that have died; what a worker started and left dies with it."""
        strangers = False
        with suppress(ChildProcessError):
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            while dead := os.waitid(os.P_ALL, 0, options):
                if dead.si_pid in self.workers:
                    _kill_group(dead.si_pid)
                strangers = strangers or dead.si_pid not in self.kept
                self.workers.discard(dead.si_pid)
                self.kept.discard(dead.si_pid)
                os.waitpid(dead.si_pid, 0)
        if strangers and not self._growing:
            self._end_orphans()

    def _end_orphans(self) -> None:
        # One that escapes by forking meanwhile is found when its parent's death is seen.
        for pid in descendants(os.getpid(), but=self.workers | self.kept):
            kill(pid)


def descendants(pid: int, but: Collection[int] = ()) -> set[int]:
    """Return the processes that descend from `pid`, without those in `but` and what these have."""
    children = _children()
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = children.get(todo.pop(), set()) - set(but) - found
        found |= new
        todo += new
    return found


def kill(pid: int) -> None:
    """Kill the process, if it is still there and may be killed."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _children() -> dict[int, set[int]]:
    """The children of every process that can be seen."""
    found: dict[int, set[int]] = {os.getpid(): set()}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name stands in brackets and may hold anything, brackets too.
            about = path.read_text(errors="replace")
            parent = int(about.rpartition(")")[2].split()[1])
            found.setdefault(parent, set()).add(int(path.parent.name))
    return found
