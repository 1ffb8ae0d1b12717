"""A worker: the process in which `runs_in == "worker"` scorers see model responses.

It reads `Task` frames from a socket and writes `ScoredTask` frames to it. The samples sent to a
worker have serial numbers 1, 2, 3 and so on.

Besides the socket there is the board, a page of shared memory. The worker records there which
sample it has begun and when, so that the pool can tell a stuck worker from a busy one even while C
code holds the interpreter; the pool records there which samples must not be begun any more. So a
sample needs no message and no wake-up of its own. A scorer that takes batches is called once for a
whole task, and if that fails, once for each of its samples.

Scores are sent back when no work is left, or earlier, after each millisecond of work: when a worker
is killed, at most that millisecond is lost and scored again elsewhere.

Deadlines are not enforced here: a process cannot be trusted to interrupt itself. Linux only.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from msgspec import Raw, Struct, json, msgpack

from touchstone_rewards.reward_server.received import is_raw
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import CallableScorer, Score
from touchstone_rewards.reward_server.scorers.returned import (
    WrongAnswer,
    checked_scores,
    failed,
    name_of,
    place_of,
    raised,
    trace_of,
)

# The slots of the board. RUNNING: serial number of the sample being scored, or NOTHING; STARTED_AT:
# when it began, by time.monotonic(); LEAVE: samples up to this number must not be begun; LAST: the
# last number of a batch that began at RUNNING, otherwise less than RUNNING.
RUNNING, STARTED_AT, LEAVE, LAST = 0, 1, 2, 3
NOTHING = 0.0
BOARD_BYTES = 4096

FLUSH_S = 0.001
READ_BYTES = 1 << 18
LARGEST_REPLY_BYTES = 16 * 1024**2
LENGTH_BYTES = 4
MOST_TRACES = 1000


class Task(Struct, array_like=True):
    """Samples to score; `first` is the serial number of the first one.

    `memory_bytes`: memory that a call may allocate, if less than the limit of the worker; else 0.
    """

    first: int
    scorer: str
    explain: bool
    samples: list[Sample]
    memory_bytes: int = 0


class Received(Struct, array_like=True):
    """A `Task` as the worker reads it: the samples are decoded later, for their scorer."""

    first: int
    scorer: str
    explain: bool
    samples: Raw
    memory_bytes: int = 0


class ScoredTask(Struct, array_like=True):
    """Scores by serial number, null for samples not scored, and the seconds they took.

    `retire`: why this worker takes no more samples, even those already sent. The first message has
    a `pid`: the worker is up. `traces`: tracebacks of exceptions in scorers, each once per worker.
    """

    scores: dict[int, Score | None] = {}
    took_s: float = 0.0
    retire: str = ""
    pid: int = 0
    traces: dict[int, str] = {}


class UndeclaredField(Exception):
    """A scorer uses a field of a sample that its `reads` does not name."""


@lru_cache(maxsize=256)
def sample_decoders(
    reads: tuple[str, ...],
) -> tuple[msgpack.Decoder[list[Sample]], json.Decoder[list[Sample]]]:
    """Return decoders of samples, from msgpack and from JSON, for a scorer with these `reads`.

    Other fields are not sent. Their defaults could lead to wrong scores unnoticed, so accessing one
    raises `UndeclaredField`.
    """
    unread = {*Sample.__struct_fields__} - {"id", *reads}
    visible: Any = type("Sample", (Sample,), {name: _undeclared(name, reads) for name in unread})
    return msgpack.Decoder(list[visible]), json.Decoder(list[visible])


def _undeclared(name: str, reads: tuple[str, ...]) -> property:
    def refuse(_: Sample) -> None:
        raise UndeclaredField(
            f"it uses sample.{name}, but its `reads` has only {', '.join(sorted(reads)) or 'id'}; "
            f"add {name!r} to `reads`"
        )

    return property(refuse)


class Memory(Struct, frozen=True):
    """The memory that one sample may allocate, and the peak above which the process retires."""

    limit_bytes: int
    retire_above_kib: int


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_MSGPACK, _JSON = msgpack.Encoder(), json.Encoder()
_RECEIVED = msgpack.Decoder(Received), json.Decoder(Received)
_SCORED = msgpack.Decoder(ScoredTask), json.Decoder(ScoredTask)


def frame(message: Task | ScoredTask) -> bytearray:
    """Return the message as bytes, preceded by its length.

    Raises:
        TypeError, ValueError: it cannot be encoded, for example because of a lone surrogate.
    """
    outbox = bytearray()
    write_frame(message, outbox)
    return outbox


def write_frame(message: Task | ScoredTask, outbox: bytearray) -> None:
    """Append the message, preceded by its length, to `outbox`, without copying a large one.

    It is msgpack if possible; JSON for integers beyond 64 bits, which occur in ground truths, and
    for metadata that is not decoded yet.

    Raises:
        TypeError, ValueError: it cannot be encoded, for example because of a lone surrogate;
            `outbox` is unchanged.
    """
    begin = len(outbox)
    raw = isinstance(message, Task) and any(map(is_raw, message.samples))
    for encoder in (_JSON,) if raw else (_MSGPACK, _JSON):
        outbox += bytes(LENGTH_BYTES)
        try:
            encoder.encode_into(message, outbox, -1)
        except OverflowError:
            del outbox[begin:]
            if encoder is _JSON:
                raise
        except BaseException:
            del outbox[begin:]
            raise
        else:
            break
    size = len(outbox) - begin - LENGTH_BYTES
    outbox[begin : begin + LENGTH_BYTES] = size.to_bytes(LENGTH_BYTES, "little")


def read_task(
    body: bytearray, scorers: Mapping[str, CallableScorer]
) -> tuple[Received, list[Sample]]:
    """Return a task and its samples, limited to the fields that its scorer reads."""
    task = _RECEIVED[_is_json(body)].decode(body)
    decoders = sample_decoders(tuple(scorers[task.scorer].reads))
    return task, decoders[_is_json(body)].decode(task.samples)


def read_scored(body: bytearray) -> ScoredTask:
    return _SCORED[_is_json(body)].decode(body)


def _is_json(body: bytearray) -> bool:
    return body[0] == ord("[")


def bodies(inbox: bytearray) -> Iterator[bytearray]:
    """Take the bodies of all complete frames out of `inbox`, and leave the rest there."""
    while len(inbox) >= LENGTH_BYTES:
        end = LENGTH_BYTES + int.from_bytes(inbox[:LENGTH_BYTES], "little")
        if len(inbox) < end:
            return
        body = inbox[LENGTH_BYTES:end]
        del inbox[:end]
        yield body


def open_board(fd: int) -> memoryview[float]:
    """Return the board in the shared memory of `fd`, as doubles, which are written atomically."""
    return memoryview(mmap.mmap(fd, BOARD_BYTES)).cast("d")


def work(
    link: socket.socket,
    board: memoryview[float],
    scorers: Mapping[str, CallableScorer],
    memory_limit_bytes: int,
) -> None:
    """Score the tasks that arrive on `link` until the pool closes it or memory runs short."""
    memory = limit_memory(memory_limit_bytes)
    link.sendall(frame(ScoredTask(pid=os.getpid())))
    inbox = bytearray()
    told: set[str] = set()
    while received := link.recv(READ_BYTES):
        inbox += received
        scored = ScoredTask()
        since_s = time.monotonic()
        for verdicts in called(inbox, board, scorers, memory):
            failed_any = False
            for serial, score, trace in verdicts:
                scored.scores[serial] = score
                failed_any = failed_any or (score is not None and score.error is not None)
                if trace and (place := place_of(trace)) not in told and len(told) < MOST_TRACES:
                    told.add(place)
                    scored.traces[serial] = trace
            if failed_any or time.monotonic() - since_s > FLUSH_S:
                since_s = report(link, board, scored, since_s, memory)
                scored = ScoredTask()
        if scored.scores:
            report(link, board, scored, since_s, memory)


# A sample's serial number, its score (None: not scored) and the traceback, if its scorer raised.
SerialVerdict = tuple[int, Score | None, str]


def called(
    inbox: bytearray,
    board: memoryview[float],
    scorers: Mapping[str, CallableScorer],
    memory: Memory,
) -> Iterator[list[SerialVerdict]]:
    """Yield the verdicts of each scorer call for the tasks in `inbox`, marked on the board.

    Each sample is marked as begun before LEAVE is read. So once the pool has written LEAVE, only
    the samples that it then sees on the board can still be scored.
    """
    for body in bodies(inbox):
        task, samples = read_task(body, scorers)
        scorer = scorers[task.scorer]
        if len(samples) > 1 and scorer.batch:
            _note(board, task.first)
            board[LAST] = task.first + len(samples) - 1
            if task.first > board[LEAVE]:
                scores, _ = score_call(scorer, samples, task, memory)
                if len(scores) == len(samples):
                    yield [(at, score, "") for at, score in enumerate(scores, task.first)]
                    continue
            board[LAST] = NOTHING
        for serial, sample in enumerate(samples, task.first):
            _note(board, serial)
            if serial <= board[LEAVE]:
                yield [(serial, None, "")]
            else:
                [score], trace = score_call(scorer, [sample], task, memory)
                yield [(serial, score, trace)]


def _note(board: memoryview[float], serial: int) -> None:
    board[STARTED_AT] = time.monotonic()
    board[RUNNING] = serial


def report(
    link: socket.socket,
    board: memoryview[float],
    scored: ScoredTask,
    since_s: float,
    memory: Memory,
) -> float:
    """Send the scores; return the time from which the next work counts.

    End the process when memory runs short, so that no sample suffers from memory that an earlier
    one left allocated.
    """
    now_s = time.monotonic()
    scored.took_s = now_s - since_s
    scored.retire = "memory" if _peak_kib() > memory.retire_above_kib else ""
    data = reply(scored)
    # Only after encoding: if that kills the process, a sample must be blamed for it.
    board[RUNNING] = NOTHING
    link.sendall(data)
    if scored.retire:
        os._exit(0)
    return now_s


def limit_memory(limit_bytes: int) -> Memory:
    """Limit this process to mapping `limit_bytes` more than it has mapped now.

    The kernel's limit counts all mapped memory, including libraries and modules that the fork
    server loaded, hence "more".
    """
    allow(limit_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as oom_score:
        oom_score.write("1000")
    return Memory(limit_bytes, _peak_kib() + limit_bytes // 2048)


def allow(limit_bytes: int) -> None:
    """Let this process map `limit_bytes` more than it has mapped now."""
    with open("/proc/self/statm") as statm:
        mapped_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = mapped_bytes + limit_bytes
    resource.setrlimit(
        resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def score_call(
    scorer: CallableScorer, samples: list[Sample], task: Received, memory: Memory
) -> tuple[list[Score], str]:
    """Return a score for each sample; or a single error if the call failed, and the traceback of
    the exception."""
    own = 0 < task.memory_bytes < memory.limit_bytes
    limit_bytes = task.memory_bytes if own else memory.limit_bytes
    if own:
        allow(limit_bytes)
    try:
        given = scorer.score(samples, explain=task.explain)
        return checked_scores(scorer, given, len(samples)), ""
    except MemoryError:
        setting = "memory_bytes in the profile" if own else "worker_memory_bytes of the server"
        limit = f"{limit_bytes / 1024**2:.0f} MiB ({setting})"
        return [
            failed(f"scorer {name_of(scorer)} needed more memory than one sample may use: {limit}")
        ], ""
    # SystemExit and panics of Rust extensions are not Exceptions, but must not end the worker.
    except BaseException as error:  # noqa: BLE001
        return [raised(scorer, error)], "" if isinstance(error, WrongAnswer) else trace_of(error)
    finally:
        if own:
            allow(memory.limit_bytes)


def reply(scored: ScoredTask) -> bytearray:
    """Return the frame of `scored`; a score that cannot be encoded is replaced by an error."""
    with suppress(Exception):
        whole = frame(scored)
        if len(whole) <= LARGEST_REPLY_BYTES:
            return whole
    scored.scores = {serial: _sendable(score) for serial, score in scored.scores.items()}
    return frame(scored)


def _sendable(score: Score | None) -> Score | None:
    try:
        size = len(frame(ScoredTask({1: score})))
    except Exception as error:  # noqa: BLE001, an explanation may hold anything
        return failed(f"the scorer's score cannot be sent: {error}")
    if size > LARGEST_REPLY_BYTES:
        return failed(
            f"the scorer's score with explanation takes {size} bytes, at most "
            f"{LARGEST_REPLY_BYTES} are allowed"
        )
    return score
