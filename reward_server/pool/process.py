"""A worker: the process in which `runs_in == "worker"` scorers meet what a model wrote.

In: `Task` frames on a socket. Out: `Scored` frames on the same socket. The samples that a worker
is sent bear serial numbers, 1, 2, 3 and so on.

Beside the socket lies the board, a page of shared memory. The worker notes there which sample it
has begun and when, so that the pool can tell a stuck worker from a busy one even while C code holds
the interpreter; the pool notes there which samples not to begin any more. So a sample costs no
message and no wake-up of its own.

Scores go back when nothing is left to do, and before that once a millisecond of work has gathered:
what a killed worker takes with it is at most that millisecond, which is scored again elsewhere.

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
from msgspec.structs import replace

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.received import is_raw
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, Scorer

# The board's places. RUNNING: serial number of the sample being scored, or NOTHING; STARTED_AT:
# when it began, by time.monotonic(); LEAVE: up to this serial number none is to be begun.
RUNNING, STARTED_AT, LEAVE = 0, 1, 2
NOTHING = 0.0
BOARD_BYTES = 4096

FLUSH_S = 0.001
READ_BYTES = 1 << 18
LARGEST_REPLY_BYTES = 16 * 1024**2
LENGTH_BYTES = 4
MESSAGE_CHARS = 200


class Task(Struct, array_like=True):
    """Score these samples, one by one; the first one's serial number is `first`."""

    first: int
    scorer: str
    explain: bool
    samples: list[Sample]


class Scored(Struct, array_like=True):
    """Scores by serial number, null for a sample left undone, and the seconds they took.

    `retire`: why this worker takes no more samples, whatever it was sent. A message with a `pid`
    comes once, first: the worker is up.
    """

    scores: dict[int, Score | None] = {}
    took_s: float = 0.0
    retire: str = ""
    pid: int = 0


class Memory(Struct, frozen=True):
    """What one sample may allocate, and the peak above which the process retires."""

    limit_bytes: int
    retire_above_kib: int


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_TASK = msgpack.Decoder(Task), json.Decoder(Task)
_SCORED = msgpack.Decoder(Scored), json.Decoder(Scored)


def frame(message: Task | Scored) -> bytes:
    """The message as bytes, its length before it.

    msgpack where it can; JSON for integers beyond 64 bits, which ground truths do have, and for
    metadata that nobody has decoded yet.

    Raises:
        TypeError, ValueError: what cannot be sent, such as a lone surrogate.
    """
    try:
        raw = isinstance(message, Task) and any(map(is_raw, message.samples))
        body = (json if raw else msgpack).encode(message)
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
    """Scores what comes over `link` until the pool closes it or memory runs short."""
    memory = limit_memory(memory_limit_bytes)
    link.sendall(frame(Scored(pid=os.getpid())))
    inbox = bytearray()
    while received := link.recv(READ_BYTES):
        inbox += received
        scores: dict[int, Score | None] = {}
        since = time.monotonic()
        for serial, task, sample in begin(inbox, board):
            if serial <= board[LEAVE]:
                scores[serial] = None
                continue
            score = score_one(scorers[task.scorer], sample, task.explain, memory.limit_bytes)
            scores[serial] = score
            if score.error is not None or time.monotonic() - since > FLUSH_S:
                since = report(link, board, scores, since, memory)
                scores = {}
        if scores:
            report(link, board, scores, since, memory)


def begin(inbox: bytearray, board: memoryview[float]) -> Iterator[tuple[int, Task, Sample]]:
    """Each sample of the tasks in `inbox`, noted on the board as begun.

    Noted before the look at LEAVE: once the pool has written there, no other sample than the one
    that it then sees on the board can still be scored.
    """
    for body in bodies(inbox):
        task = read_task(body)
        for serial, sample in enumerate(task.samples, task.first):
            board[STARTED_AT] = time.monotonic()
            board[RUNNING] = serial
            yield serial, task, sample


def report(
    link: socket.socket,
    board: memoryview[float],
    scores: dict[int, Score | None],
    since: float,
    memory: Memory,
) -> float:
    """Sends the scores; returns the time, from which the next ones' work counts.

    Ends the process when memory runs short, so that what one sample left behind is never what
    the next one runs short of.
    """
    now = time.monotonic()
    retire = "memory" if _peak_kib() > memory.retire_above_kib else ""
    data = reply(Scored(scores, now - since, retire))
    # Not sooner: were the encoding to kill the process, a sample must answer for it.
    board[RUNNING] = NOTHING
    link.sendall(data)
    if retire:
        os._exit(0)
    return now


def limit_memory(limit_bytes: int) -> Memory:
    """From here on this process can map `limit_bytes` more than it has now.

    The kernel's limit counts all that is mapped, libraries and what the fork server preloaded
    included, hence "more".
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
    # A subclass of float, such as NumPy's, cannot be sent.
    return score if type(score.value) is float else replace(score, value=float(score.value))


def reply(scored: Scored) -> bytes:
    """The frame of `scored`; a score that cannot be sent gives way to an error in its place."""
    with suppress(Exception):
        whole = frame(scored)
        if len(whole) <= LARGEST_REPLY_BYTES:
            return whole
    scored.scores = {serial: _sendable(score) for serial, score in scored.scores.items()}
    return frame(scored)


def _sendable(score: Score | None) -> Score | None:
    try:
        size = len(frame(Scored({1: score})))
    except Exception as error:  # noqa: BLE001, an explanation may hold anything
        return failed(f"its score cannot be sent: {error}")
    if size > LARGEST_REPLY_BYTES:
        return failed(
            f"its score with explanation takes {size} bytes; {LARGEST_REPLY_BYTES} are allowed"
        )
    return score


def failed(message: str) -> Score:
    short = message[:MESSAGE_CHARS].encode(errors="replace").decode()
    return Score(error=sample_error("scorer_failed", short))
