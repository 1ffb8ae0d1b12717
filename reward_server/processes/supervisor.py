"""Run several processes on one port: start them, distribute connections, restart and stop them.

Only the supervisor listens. It hands each connection to the process with the fewest, so that even a
few callers with persistent connections are spread evenly. It reads none of their bytes. Each
process has a socket to the supervisor and ends when that closes, so no process is left behind when
the supervisor is killed.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from touchstone_rewards.reward_server.processes.board import Board

# Messages of one byte, the first two with a descriptor: a connection; the link to another process;
# close one connection after its next answer; close none.
CONNECTION, LINK, LET_GO, KEEP = b"c", b"l", b"x", b"k"
# Messages of a process: it takes connections; everything is loaded; a connection has closed.
READY, LOADED, CLOSED = b"r", b"o", b"-"
TICK_S, LAST_TICK_S = 1.0, 0.05
# A process that ends before it was ready is restarted after this time, doubled for each try.
AGAIN_S, MOST_AGAIN_S = 1.0, 30.0
ACCEPTS_A_TURN = 64
MOST_LET_GO = 64
# A process that has not ended this long after `drain_s` is killed.
GRACE_S = 5.0
# New connections are still answered for this long, with a 503.
LINGER_S = 0.2

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

logger = logging.getLogger("touchstone_rewards.reward_server")


@dataclass(frozen=True)
class ProcessMember:
    """One of the processes: its place, its socket to the supervisor, and the shared state."""

    place: int
    processes: int
    control: socket.socket
    board: Board
    server_id: str


@dataclass
class _Child:
    pid: int
    control: socket.socket
    connections: int = 0
    ready: bool = False
    loaded: bool = False
    lets_go: int = 0


@dataclass
class Supervisor:
    """Starts and supervises the processes. `serve` is the work of one; it returns its exit status.

    `run` returns in the supervisor the status of the whole once all have ended, and in each process
    its own status.
    """

    listening: socket.socket
    processes: int
    keys: Sequence[str]
    serve: Callable[[ProcessMember], int]
    drain_s: float
    children: dict[int, _Child] = field(default_factory=dict[int, _Child])
    status: int = 0
    ever_loaded: bool = False

    def run(self) -> int:
        """Serve until a signal ends it, or until the processes cannot start."""
        self.board = Board(self.keys, self.processes)
        self.server_id = os.urandom(16).hex()
        self.selector = selectors.DefaultSelector()
        self._starts_at_s = dict.fromkeys(range(self.processes), 0.0)
        self._waits_s = dict.fromkeys(range(self.processes), AGAIN_S)
        self._ends_at_s: float | None = None
        self._member: ProcessMember | None = None
        self._listen_to_signals()
        self.listening.setblocking(False)
        self.selector.register(self.listening, selectors.EVENT_READ)
        while self._goes_on():
            for key, _ in self.selector.select(LAST_TICK_S if self._ends_at_s else TICK_S):
                if key.fileobj is self.listening:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._hear_signals()
                else:
                    self._hear(key.data, key.fileobj)
        return self.status if self._member is None else self.serve(self._member)

    def _listen_to_signals(self) -> None:
        self._woken, wakes = socket.socketpair()
        self._wakes = wakes
        wakes.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _woken_by)
        self.selector.register(self._woken, selectors.EVENT_READ)

    def _hear_signals(self) -> None:
        with suppress(BlockingIOError):
            for number in self._woken.recv(4096):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._end(self.status)
                elif number == signal.SIGHUP and 0 in self.children:
                    os.kill(self.children[0].pid, signal.SIGHUP)

    def _goes_on(self) -> bool:
        """Start and stop processes as needed; return False when all have ended."""
        self._bury()
        now_s = time.monotonic()
        if self._ends_at_s is None:
            for place, starts_at_s in self._starts_at_s.items():
                may = place == 0 or self.ever_loaded  # so a config error is reported once
                if may and place not in self.children and now_s >= starts_at_s:
                    self._start(place)
                if self._member is not None:
                    return False
            self._even_out()
            return True
        if now_s >= self._ends_at_s - self.drain_s - GRACE_S + LINGER_S:
            self._close_port()
        if now_s >= self._ends_at_s:
            for child in self.children.values():
                os.kill(child.pid, signal.SIGKILL)
        return bool(self.children)

    def _start(self, place: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            member = ProcessMember(place, self.processes, theirs, self.board, self.server_id)
            return self._become(member, ours)
        theirs.close()
        ours.setblocking(False)
        self.children[place] = _Child(pid, ours)
        self.selector.register(ours, selectors.EVENT_READ, place)
        for other in self.children if place == 0 else [place]:
            if other != 0 and 0 in self.children:
                self._link(other)

    def _become(self, member: ProcessMember, ours: socket.socket) -> None:
        """Become one of the processes: close everything that belongs to the supervisor."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for held in (ours, self.listening, self._woken, self._wakes):
            held.close()
        for child in self.children.values():
            child.control.close()
        self.selector.close()
        self._member = member

    def _link(self, place: int) -> None:
        """Connect the process at `place` with the first one."""
        one, other = socket.socketpair()
        with one, other, suppress(OSError):
            socket.send_fds(self.children[0].control, [LINK], [one.fileno()])
            socket.send_fds(self.children[place].control, [LINK], [other.fileno()])

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if not self._ready():  # new connections wait in the port's backlog
                self.selector.unregister(self.listening)
                return
            try:
                connection, _ = self.listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                logger.warning("a connection could not be accepted: %s", error)
                time.sleep(0.01)
                return
            with connection:
                self._give(connection)

    def _accept_again(self) -> None:
        if self.listening.fileno() >= 0 and self.listening not in self.selector.get_map():
            self.selector.register(self.listening, selectors.EVENT_READ)

    def _give(self, connection: socket.socket) -> None:
        """Hand the connection to the process with the fewest; close it if there is none."""
        for child in sorted(self._ready(), key=lambda each: each.connections):
            with suppress(OSError):
                socket.send_fds(child.control, [CONNECTION], [connection.fileno()])
                child.connections += 1
                return

    def _ready(self) -> list[_Child]:
        """Return the processes that take connections: loaded ones, or else any that is up."""
        ready = [child for child in self.children.values() if child.ready]
        return [child for child in ready if child.loaded] or ready

    def _hear(self, place: int, control: object) -> None:
        child = self.children.get(place)
        if child is None or child.control is not control:
            return
        try:
            said = child.control.recv(4096)
        except OSError:
            said = b""
        if not said:
            child.ready = False
            self.selector.unregister(child.control)
            child.control.close()
            return
        child.connections -= said.count(CLOSED)
        if READY in said:
            child.ready = True
            self._accept_again()
        if LOADED in said:
            child.loaded = self.ever_loaded = True
            self._waits_s[place] = AGAIN_S

    def _even_out(self) -> None:
        """Tell processes with too many connections to close some, whose callers reconnect."""
        ready = self._ready()
        if len(ready) < 2:
            return
        fair = -(-sum(child.connections for child in ready) // len(ready))
        for child in ready:
            too_many = min(MOST_LET_GO, max(0, child.connections - fair))
            if too_many != child.lets_go:
                with suppress(OSError):
                    child.control.send(KEEP + too_many * LET_GO)
                    child.lets_go = too_many

    def _bury(self) -> None:
        """Collect the processes that have ended."""
        for place, child in list(self.children.items()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            del self.children[place]
            with suppress(KeyError, ValueError):
                self.selector.unregister(child.control)
            child.control.close()
            self.board.forget(place)
            self._after(place, os.waitstatus_to_exitcode(status))

    def _after(self, place: int, status: int) -> None:
        if self._ends_at_s is not None:
            return
        if status > 0 and not self.ever_loaded:
            self._end(status)
            return
        why = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        wait_s = self._waits_s[place]
        logger.error("process %d of %d %s; a new one is started", place, self.processes, why)
        self._starts_at_s[place] = time.monotonic() + (wait_s if wait_s > AGAIN_S else 0.0)
        self._waits_s[place] = min(MOST_AGAIN_S, 2 * wait_s)

    def _end(self, status: int) -> None:
        """Stop all processes, after they finish their pending requests."""
        if self._ends_at_s is None:
            self.status = status
            self._ends_at_s = time.monotonic() + self.drain_s + GRACE_S
        for child in self.children.values():
            os.kill(child.pid, signal.SIGTERM)

    def _close_port(self) -> None:
        if self.listening.fileno() >= 0:
            with suppress(KeyError):
                self.selector.unregister(self.listening)
            self.listening.close()


def _woken_by(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the main loop reads the signal's number from the wake-up socket."""
