"""The server's end of one worker process: its socket, its board, its death.

`send` hands out a task; scores arrive by the two callbacks given at the start. What is to become
of the samples is the pool's business, not this module's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from reward_server.fork_server import ForkServer
from reward_server.worker_process import (
    BOARD_BYTES,
    LEAVE,
    NOTHING,
    RUNNING,
    STARTED_AT,
    Scored,
    Task,
    bodies,
    frame,
    open_board,
    read_scored,
)

READ_BYTES = 1 << 16


class WorkerLink:
    """`on_scored` gets each message of the worker, `on_lost` the news that it died, once.

    `pid` is 0 until the worker has said that it is up.
    """

    def __init__(
        self,
        server: ForkServer,
        on_scored: Callable[[Scored], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Asks `server` for a worker.

        Raises:
            OSError: the fork server is gone, or there are no file descriptors left.
        """
        self.pid = 0
        self._on_scored = on_scored
        self._on_lost = on_lost
        self._inbox = bytearray()
        self._loop = asyncio.get_running_loop()
        board_fd = os.memfd_create("board")
        try:
            os.truncate(board_fd, BOARD_BYTES)
            self._board = open_board(board_fd)
            self._board[RUNNING] = NOTHING
            self._socket, theirs = socket.socketpair()
            with theirs:
                server.fork(theirs.fileno(), board_fd)
        finally:
            os.close(board_fd)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._read)

    @property
    def running(self) -> int | None:
        """The index within its task of the sample that the worker is scoring, if it is."""
        index = int(self._board[RUNNING])
        return None if index < 0 else index

    @property
    def started_at(self) -> float:
        """When it began that sample, by `time.monotonic()`."""
        return self._board[STARTED_AT]

    def send(self, task: Task) -> None:
        """
        Raises:
            TypeError, ValueError: the task cannot be encoded; nothing was sent.
        """
        self._write(memoryview(frame(task)))

    def leave(self, task_number: int) -> None:
        """Asks the worker to begin no further sample of that task."""
        self._board[LEAVE] = task_number

    def kill(self) -> list[Scored]:
        """Ends the worker and whatever it started; returns what it had still sent."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):
            while received := self._socket.recv(READ_BYTES):
                self._inbox += received
        self._socket.close()
        return [read_scored(body) for body in bodies(self._inbox)]

    def _read(self) -> None:
        try:
            received = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self._inbox += received
        for body in bodies(self._inbox):
            self._on_scored(read_scored(body))
        if not received:
            self._on_lost()

    def _write(self, data: memoryview) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it is dead, and the reader is about to hear of it
        self._loop.remove_writer(self._socket)
        if sent < len(data):
            self._loop.add_writer(self._socket, self._write, data[sent:])
