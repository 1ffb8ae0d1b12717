"""Score log: one JSON line per scored sample, with its result.

A thread encodes whole lines and appends them to a file, so no answer waits for the disk. Files are
rotated by size: `scores.jsonl` is the newest, `scores.jsonl.1` the one before. Lines that the
thread cannot keep up with or cannot write are dropped and counted. A log belongs to one server,
whose processes take turns to write; `commands/replay.py` reads it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import msgspec
from msgspec import Struct
from prometheus_client.core import CounterMetricFamily

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scoring.claim import claim
from touchstone_rewards.reward_server.stored.lines import cut_torn_line
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading
from touchstone_rewards.reward_server.watching.held_bytes import held_bytes

# Limit on the bytes queued for the thread.
MAX_WAITING_BYTES = 64 * 2**20

logger = logging.getLogger(__name__)


class ScoreLine(Struct):
    """One line of the log.

    `time`: seconds since 1970. `sample`: as received. `result`: as answered.
    """

    time: float
    request_id: str
    profile: str
    fingerprint: str
    sample: Sample
    result: SampleResult


class AnsweredRequest(NamedTuple):
    time: float
    request_id: str
    profile: str
    fingerprint: str
    samples: Sequence[Sample]
    results: Sequence[SampleResult]
    bytes: int


class ScoreLog:
    """Writer of a score log. Call `start`, then `take`; `close` writes the lines that are left.

    `max_bytes`: size at which a file is rotated. `files`: number of files kept, the newest
    included. `counts`: lines `written` and `dropped`.

    Raises:
        ConfigError: the file cannot be written, or another server writes it.
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.files = files
        self.counts = Counter(written=0, dropped=0)
        self._queue: SimpleQueue[AnsweredRequest | None] = SimpleQueue()
        # Each counter is changed by one thread only, so the difference needs no lock.
        self._taken_bytes = self._done_bytes = self._refused = 0
        self._open()
        self._thread = threading.Thread(target=self._write_all, name="score log", daemon=True)

    def start(self) -> None:
        """Start the writer thread."""
        self._thread.start()

    def _open(self) -> None:
        """Open the file, removing an incomplete last line of an earlier run."""
        try:
            lock = self.path.with_name(f"{self.path.name}.lock")
            self._claim: int | None = claim(lock, f"score log {self.path}")
            with self._locked(), _opened(self.path):
                cut_torn_line(self.path)
        except OSError as error:
            raise ConfigError(f"score log {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Write all queued lines and stop the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def take(self, request: ScoreRequest, answer: ScoreResponse) -> None:
        """Queue samples and results for the thread, or drop them if the queue is full."""
        samples = request.samples
        size = held_bytes(samples, answer.results, MAX_WAITING_BYTES)
        waiting = self._taken_bytes - self._done_bytes
        if waiting and waiting + size > MAX_WAITING_BYTES:
            self._refused += len(samples)
            return
        self._taken_bytes += size
        about = time.time(), current().request_id, answer.profile, answer.fingerprint
        self._queue.put(AnsweredRequest(*about, samples, answer.results, size))

    def readings(self) -> list[MetricReading]:
        """Return the log's metrics."""

        def read() -> dict[str, int]:
            return {**self.counts, "dropped": self.counts["dropped"] + self._refused}

        text = "Lines of the score log, by outcome"
        return [MetricReading(CounterMetricFamily, "reward_score_log_lines", text, "outcome", read)]

    def _write_all(self) -> None:
        while (answered := self._queue.get()) is not None:
            count = len(answered.samples)
            try:
                self._append(_lines(answered))
                self.counts["written"] += count
            except OSError as error:
                self.counts["dropped"] += count
                logger.error("score log %s: %d lines are lost: %s", self.path, count, error)
            self._done_bytes += answered.bytes

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other processes of this server from writing inside the block."""
        if self._claim is None:
            yield
            return
        fcntl.lockf(self._claim, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._claim, fcntl.LOCK_UN)

    def _append(self, content: bytes) -> None:
        with self._locked():
            self._append_alone(content)

    def _append_alone(self, content: bytes) -> None:
        with _opened(self.path) as file:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # torn line of a killed process
                cut_torn_line(self.path)
                size = os.fstat(file).st_size
            if not size or size + len(content) <= self.max_bytes:
                _write(file, content, size)
                return
        self._rotate()
        with _opened(self.path) as file:
            _write(file, content, 0)

    def _rotate(self) -> None:
        for number in range(self.files - 1, 0, -1):
            older = self.path if number == 1 else _numbered(self.path, number - 1)
            if older.exists():
                older.replace(_numbered(self.path, number))
        self.path.unlink(missing_ok=True)


def log_files(path: Path) -> list[Path]:
    """Return the files of the log at `path`, oldest first."""
    found = path.parent.glob(path.name + ".*")
    numbers = sorted(int(each.suffix[1:]) for each in found if each.suffix[1:].isdigit())
    return [*(_numbered(path, number) for number in reversed(numbers)), path]


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _lines(answered: AnsweredRequest) -> bytes:
    about = answered[:4]
    pairs = zip(answered.samples, answered.results, strict=True)
    return b"".join(msgspec.json.encode(ScoreLine(*about, *pair)) + b"\n" for pair in pairs)


@contextmanager
def _opened(path: Path) -> Generator[int]:
    """Open a descriptor for appending, and close it exactly once.

    A second close could hit another file or socket that has been given the same number.
    """
    # Texts of models and users must not be readable by others.
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, content: bytes, size: int) -> None:
    """Append the whole content to a file of `size` bytes, or none of it."""
    try:
        written = os.write(file, content)
        while written < len(content):
            written += os.write(file, content[written:])
    except OSError:
        try:
            os.ftruncate(file, size)  # a full disk may have taken part of a line
        except OSError as error:
            logger.error("score log: part of a line may remain in the file: %s", error)
        raise
