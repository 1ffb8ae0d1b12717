"""Track the fork server's child processes, and kill those that a scorer leaves behind.

A worker's process group is killed with the worker. A process that a scorer started in a session of
its own is not in that group: when the worker dies, it is reparented to the fork server, its
subreaper, which kills every child that it does not know.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path


class Family:
    """The fork server's children that must stay alive.

    `workers`: those it forked. `kept`: those that scorers started while they were built.
    """

    def __init__(self) -> None:
        self.workers: set[int] = set()
        self.kept: set[int] = set()
        self._growing = False

    @contextmanager
    def growing(self) -> Generator[None]:
        """Return a context in which scorers are built; processes they start there are kept."""
        self._growing = True
        try:
            yield
        finally:
            self.kept |= _children()[os.getpid()] - self.workers
            self._growing = False

    def reap(self, *_: object) -> None:
        """Collect dead children, and kill the processes that a dead worker left behind."""
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
        # A process that escapes by forking meanwhile is found when its parent's death is reaped.
        for pid in descendants(os.getpid(), but=self.workers | self.kept):
            kill(pid)


def descendants(pid: int, but: Collection[int] = ()) -> set[int]:
    """Return the descendants of `pid`, except those in `but` and their descendants."""
    children = _children()
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = children.get(todo.pop(), set()) - set(but) - found
        found |= new
        todo += new
    return found


def has_ended(pid: int) -> bool:
    """Return whether the main thread of a process has ended."""
    try:
        return _state(Path(f"/proc/{pid}/stat"))[0] in ("Z", "X")
    except OSError:
        return True


def kill(pid: int) -> None:
    """Kill the process if it still exists and may be killed."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _state(stat: Path) -> list[str]:
    """Return what a process's `stat` says after its name: its state, its parent and more."""
    # The name stands in parentheses and may contain anything, parentheses included.
    return stat.read_text(errors="replace").rpartition(")")[2].split()


def _children() -> dict[int, set[int]]:
    """Return the children of every visible process."""
    found: dict[int, set[int]] = {os.getpid(): set()}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            found.setdefault(int(_state(path)[1]), set()).add(int(path.parent.name))
    return found
