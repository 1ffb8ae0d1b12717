"""The server's end of one worker process: its samples in hand, its socket, its board, its death.

`give` and `send` hand it samples, `on_scored` receives its scores, `on_lost` is called when it has
died. The pool decides about the samples then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from msgspec import DecodeError

from touchstone_rewards.reward_server.pool.calls import Flow, HandSlot, ran_out, task
from touchstone_rewards.reward_server.pool.failures import log_failure
from touchstone_rewards.reward_server.pool.fork_server import ForkServer
from touchstone_rewards.reward_server.pool.process import (
    BOARD_BYTES,
    LAST,
    LEAVE,
    NOTHING,
    READ_BYTES,
    RUNNING,
    STARTED_AT,
    ScoredTask,
    bodies,
    open_board,
    read_scored,
    write_frame,
)
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.returned import failed

PACE_MEMORY = 0.8
# The most that a worker has in hand, in seconds and in samples: enough to keep it busy.
HAND_S, HAND_SAMPLES = 0.004, 128
STALL_S = 0.05  # a sample that takes longer does not keep others waiting
PICK_UP_S = 1.0  # a worker that has samples but has begun none for this long is stuck
READ_BYTES_PER_S = 1e7  # slowest speed of reading and decoding, before work on a sample begins
log = logging.getLogger(__name__)


class Look(NamedTuple):
    """The action for a worker: check again after `again_s`, or kill it for the reason `end`, with
    a `verdict` on the running sample."""

    again_s: float = 0.0
    end: str = ""
    verdict: Score | None = None


class Worker:
    """`pid` is 0 until the process reports that it is up; `pace_s`: recent seconds per sample.

    `stalled`: the running sample is slow, so no other sample should wait behind it.
    """

    def __init__(
        self,
        server: ForkServer,
        on_scored: Callable[[Worker, ScoredTask], None],
        on_lost: Callable[[Worker], None],
        on_check: Callable[[Worker], None],
    ) -> None:
        """Ask `server` for a process. `on_check` is called at the time that `check_in` set.

        Raises:
            OSError: the fork server is gone, or there are no file descriptors left.
        """
        self.pid = 0
        self.served = 0
        self.pace_s = 0.0
        self.generation = server.generation
        self.hand: dict[int, HandSlot] = {}
        self.stalled = False
        self.nothing_since_s: float | None = None
        self._last_serial = 0
        self._given_bytes = 0  # size of the samples in hand
        self._on_scored = on_scored
        self._on_lost = on_lost
        self._on_check = on_check
        self._timer: asyncio.TimerHandle | None = None
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._loop = asyncio.get_running_loop()
        board_fd = os.memfd_create("board")
        try:
            os.truncate(board_fd, BOARD_BYTES)
            self._board = open_board(board_fd)
            self._socket, theirs = socket.socketpair()
            with theirs:
                server.fork(theirs.fileno(), board_fd)
        finally:
            os.close(board_fd)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._read)

    @property
    def running(self) -> range:
        """The serial numbers of the sample or batch being scored; empty if there is none."""
        first = int(self._board[RUNNING])
        if first == NOTHING or first not in self.hand:
            return range(0)
        return range(first, max(first, int(self._board[LAST])) + 1)

    @property
    def started_at(self) -> float:
        """When it began the running sample, by `time.monotonic()`."""
        return self._board[STARTED_AT]

    def most_in_hand(self, chunk: int) -> int:
        """Return how many samples it may have in hand; `chunk` while its pace is not known."""
        return min(HAND_SAMPLES, int(HAND_S / self.pace_s) or 1) if self.pace_s else chunk

    def check_in(self, delay_s: float | None) -> None:
        """Call `on_check` after `delay_s`, or never if None; this replaces an earlier timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if delay_s is not None:
            self._timer = self._loop.call_later(delay_s, self._check)

    @property
    def watched(self) -> bool:
        """Whether `on_check` is scheduled."""
        return self._timer is not None

    def look(self, default_s: float) -> Look:
        """Check its progress with the samples in hand; record whether it is `stalled`.

        `default_s`: the deadline of a sample whose call sets none.
        """
        now_s = time.monotonic()
        running = self.running
        if not running:
            self.nothing_since_s = self.nothing_since_s or now_s
            pick_up_s = PICK_UP_S + self._given_bytes / READ_BYTES_PER_S
            stuck = now_s - self.nothing_since_s >= pick_up_s
            return Look(end="stuck") if stuck else Look(STALL_S)
        self.nothing_since_s = None
        took_s = now_s - self.started_at
        deadline_s = self.hand[running[0]][0].deadline_s or default_s
        if took_s >= deadline_s:
            return Look(end="deadline", verdict=ran_out(deadline_s))
        if took_s < STALL_S:
            return Look(min(STALL_S, deadline_s) - took_s)
        self.stalled = True
        return Look(deadline_s - took_s)

    def give(self, slots: Sequence[HandSlot]) -> None:
        """Put samples, from calls of one kind, into its hand; `send` sends them.

        Raises:
            TypeError, ValueError, OverflowError, RecursionError: they cannot be encoded.
        """
        first = self._last_serial + 1
        before = len(self._outbox)
        write_frame(task(first, slots), self._outbox)
        self._given_bytes = len(self._outbox) - before + (self._given_bytes if self.hand else 0)
        self.hand |= enumerate(slots, first)
        self._last_serial += len(slots)

    def give_alike(self, slots: Sequence[HandSlot]) -> bool:
        """Put samples of one kind into its hand, and fail those that cannot be encoded; return
        whether any were put."""
        try:
            if slots:
                self.give(slots)
            return bool(slots)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            if len(slots) > 1:  # one by one, to find the culprit
                return sum(self.give_alike([slot]) for slot in slots) > 0
            [(call, position)] = slots
            call.settle(position, failed(f"the sample cannot be sent to a worker: {error}"))
            return False

    def send(self) -> None:
        """Send the samples in the outbox, as fast as the socket takes them."""
        try:
            del self._outbox[: self._socket.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            return  # the worker is dead, and the reader will notice
        if self._outbox:
            self._loop.add_writer(self._socket, self._resume)

    def take(self, scored: ScoredTask) -> list[HandSlot]:
        """Pass the scores on to their calls; return the samples that were not scored."""
        undone: list[HandSlot] = []
        each_s = scored.took_s / max(1, len(scored.scores))
        for serial, score in scored.scores.items():
            if (slot := self.hand.pop(serial, None)) is None:
                continue
            slot[0].charge(each_s)
            if score is None:
                undone.append(slot)
            else:
                slot[0].settle(slot[1], score)
                if trace := scored.traces.get(serial):
                    log_failure(slot[0].scorer_name, trace, slot[0].served)
        if scored.scores:
            if self.stalled:
                self.stalled = False
                self.check_in(None)
            self.served += len(scored.scores)
            self.pace_s = PACE_MEMORY * self.pace_s + (1 - PACE_MEMORY) * each_s
        return undone

    def recall(self) -> list[HandSlot]:
        """Take back all samples except the running ones."""
        self._board[LEAVE] = self._last_serial
        running = self.running
        return [self.hand.pop(serial) for serial in list(self.hand) if serial not in running]

    def kill(self) -> list[HandSlot]:
        """Kill the process and its children; return the samples that it had not scored."""
        self.check_in(None)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):
            while received := self._socket.recv(READ_BYTES):
                self._inbox += received
        self._socket.close()
        undone: list[HandSlot] = []
        with suppress(DecodeError):
            for body in bodies(self._inbox):
                undone += self.take(read_scored(body))
        undone += self.hand.values()
        self.hand.clear()
        return undone

    def _read(self) -> None:
        try:
            received = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self._inbox += received
        try:
            for body in bodies(self._inbox):
                self._on_scored(self, read_scored(body))
        except DecodeError:
            log.error("worker %d sent a corrupt frame; it is replaced", self.pid)
            received = b""
        if not received:
            self._on_lost(self)

    def _check(self) -> None:
        self._timer = None
        self._on_check(self)

    def _resume(self) -> None:
        self._loop.remove_writer(self._socket)
        self.send()


def stuck_flows(workers: Iterable[Worker]) -> set[Flow]:
    """Return the flows whose slow samples hold a worker."""
    stalled = (worker for worker in workers if worker.stalled)
    return {call.flow for worker in stalled for call, _ in worker.hand.values()}
