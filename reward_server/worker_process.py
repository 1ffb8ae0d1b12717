"""A worker: the process in which `runs_in == "worker"` scorers meet what a model wrote.

In: `Task` frames on a socket. Out: `Scored` frames on the same socket. Beside the socket lies the
board, a page of shared memory: the worker notes there which sample it has begun, and when, so that
the pool can tell a stuck worker from a busy one even while C code holds the interpreter, and the
pool notes there which task to leave off. A sample costs no message and no wake-up of its own.

Scores go back when the task is done, and before that once a millisecond of work has gathered: what
a killed worker takes with it is at most that millisecond, which is scored again elsewhere.

Nothing here enforces a deadline: a process cannot be trusted to interrupt itself. Linux only.
"""

from __future__ import annotations

import math
import mmap
import os
import resource
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct, json, msgpack

from reward_server.errors import sample_error
from reward_server.schemas import Sample
from reward_server.scorers.base import Score, Scorer

# The board's places. RUNNING: index within the task of the sample being scored, or NOTHING;
# STARTED_AT: when it began, by time.monotonic(); LEAVE: number of the task to leave off.
RUNNING, STARTED_AT, LEAVE = 0, 1, 2
NOTHING = -1.0
BOARD_BYTES = 4096

FLUSH_S = 0.001
LARGEST_REPLY_BYTES = 16 * 1024**2
LENGTH_BYTES = 4
MESSAGE_CHARS = 200


class Task(Struct, array_like=True):
    """Score these samples, one by one."""

    number: int
    scorer: str
    explain: bool
    samples: list[Sample]


class Scored(Struct, array_like=True):
    """Scores of the task's samples from index `first` on.

    `last`: the task is over, whether all of it was begun or not. `retire`: why this worker should
    take no other task. A message with a `pid` comes once, first: the worker is up.
    """

    first: int = 0
    scores: list[Score] = []
    last: bool = False
    retire: str = ""
    pid: int = 0


class Memory(Struct, frozen=True):
    """What one sample may allocate, and the peak of the process above which it retires."""

    limit_bytes: int
    retire_above_kib: int

    def is_short(self) -> bool:
        return _peak_kib() > self.retire_above_kib


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_TASK = msgpack.Decoder(Task), json.Decoder(Task)
_SCORED = msgpack.Decoder(Scored), json.Decoder(Scored)


def frame(message: Task | Scored) -> bytes:
    """The message as bytes, its length before it.

    msgpack where it can; JSON for integers beyond 64 bits, which ground truths do have.

    Raises:
        TypeError, ValueError: what cannot be sent, such as a lone surrogate.
    """
    try:
        body = msgpack.encode(message)
    except OverflowError:
        body = json.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


def read_task(body: bytearray) -> Task:
    return _TASK[body[0] == ord("[")].decode(body)


def read_scored(body: bytearray) -> Scored:
    return _SCORED[body[0] == ord("[")].decode(body)


def bodies(inbox: bytearray) -> Iterator[bytearray]:
    """Takes the bodies of the whole frames out of `inbox` and leaves the rest there."""
    while len(inbox) >= LENGTH_BYTES:
        end = LENGTH_BYTES + int.from_bytes(inbox[:LENGTH_BYTES], "little")
        if len(inbox) < end:
            return
        body = inbox[LENGTH_BYTES:end]
        del inbox[:end]
        yield body


def open_board(fd: int) -> memoryview[float]:
    """The board in the shared memory behind `fd`, as doubles: each is written in one go."""
    return memoryview(mmap.mmap(fd, BOARD_BYTES)).cast("d")


def work(
    link: socket.socket,
    board: memoryview[float],
    scorers: Mapping[str, Scorer],
    memory_limit_bytes: int,
) -> None:
    """Scores what comes over `link` until the pool closes it."""
    memory = limit_memory(memory_limit_bytes)
    link.sendall(frame(Scored(pid=os.getpid())))
    inbox = bytearray()
    while received := link.recv(1 << 18):
        inbox += received
        for body in bodies(inbox):
            score_task(link, board, scorers, read_task(body), memory)


def limit_memory(limit_bytes: int) -> Memory:
    """From here on this process can map `limit_bytes` more than it has now.

    The kernel's limit counts all that is mapped, libraries and what the fork server preloaded
    included, hence "more". A worker whose peak has passed half of it retires after its task, so
    that what one sample left behind is never what the next one runs short of.
    """
    with open("/proc/self/statm") as statm:
        mapped_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = mapped_bytes + limit_bytes
    resource.setrlimit(
        resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as oom_score:
        oom_score.write("1000")
    return Memory(limit_bytes, _peak_kib() + limit_bytes // 2048)


def score_task(
    link: socket.socket,
    board: memoryview[float],
    scorers: Mapping[str, Scorer],
    task: Task,
    memory: Memory,
) -> None:
    """Scores a task's samples in order and sends what came of them."""
    scorer, scores, first = scorers[task.scorer], [], 0
    now = flushed_at = time.monotonic()
    for index, sample in enumerate(task.samples):
        if board[LEAVE] == task.number:
            break
        if now - flushed_at > FLUSH_S:
            link.sendall(reply(Scored(first, scores)))
            first, scores, flushed_at = index, [], now
        board[STARTED_AT] = now
        board[RUNNING] = index
        score = score_one(scorer, sample, task.explain, memory.limit_bytes)
        scores.append(score)
        now = time.monotonic()
        if score.error is not None and memory.is_short():
            break
    board[RUNNING] = NOTHING
    retire = "memory" if memory.is_short() else ""
    link.sendall(reply(Scored(first, scores, last=True, retire=retire)))


def score_one(scorer: Scorer, sample: Sample, explain: bool, memory_limit_bytes: int) -> Score:
    """One sample's score, or as an error what the scorer did instead of scoring."""
    try:
        return checked(scorer.score([sample], explain=explain))
    except MemoryError:
        return failed(
            f"needed more memory than a sample may have: {memory_limit_bytes / 1024**2:.0f} MiB "
            "(memory_limit_bytes)"
        )
    # SystemExit and the panics of Rust extensions are no Exception, and no reason to die either.
    except BaseException as error:  # noqa: BLE001
        return failed(f"{type(error).__name__}: {error}")


def checked(scores: Any) -> Score:
    """The one score in `scores`, if it is one that may leave this process."""
    if not isinstance(scores, list) or len(scores) != 1 or not isinstance(scores[0], Score):
        return failed(
            f"expected a list of 1 Score for 1 sample, the scorer returned {scores!r:.80}"
        )
    score = scores[0]
    if score.value is None:
        return score if score.error else failed("the scorer returned neither a value nor an error")
    if not math.isfinite(score.value):
        return failed(f"the scorer returned {score.value}, which is no score")
    return score


def reply(scored: Scored) -> bytes:
    """The frame of `scored`; a score that cannot be sent gives way to an error in its place."""
    with suppress(TypeError, ValueError):
        whole = frame(scored)
        if len(whole) <= LARGEST_REPLY_BYTES:
            return whole
    scored.scores = [_sendable(score) for score in scored.scores]
    return frame(scored)


def _sendable(score: Score) -> Score:
    try:
        size = len(frame(Scored(scores=[score])))
    except (TypeError, ValueError) as error:
        return failed(f"its explanation cannot be sent: {error}")
    if size > LARGEST_REPLY_BYTES:
        return failed(f"its explanation takes {size} bytes, {LARGEST_REPLY_BYTES} are allowed")
    return score


def failed(message: str) -> Score:
    short = message[:MESSAGE_CHARS].encode(errors="replace").decode()
    return Score(error=sample_error("scorer_failed", short))
