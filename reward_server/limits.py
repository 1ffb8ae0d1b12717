"""Limits of a request: bytes, samples, time, and the share of its key.

Every refusal because of size or load is raised here. The values come from `settings.py`.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Generator, MutableSequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from touchstone_rewards.reward_server.errors import QueueFull, RequestTooLarge
from touchstone_rewards.reward_server.structure import MAX_DEPTH, Structure

# Metadata lies inside the request, its list of samples and a sample.
BODY_DEPTH = MAX_DEPTH + 3


@dataclass
class BodyLimits:
    """Limits of one request's body, and of all bodies being read, scored or answered.

    `pending_bytes`: the current size of all bodies, uncompressed, and of answers that clients have
    not yet read. While it is at most `unchecked_bytes`, no byte limit can be exceeded.
    `max_elements`: members, items and containers in the JSON of one body.
    """

    max_body_bytes: int
    max_pending_bytes: int
    max_elements: int = 1_000_000
    pending_bytes: int = 0
    unchecked_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.unchecked_bytes = min(self.max_body_bytes, self.max_pending_bytes)

    def check_one(self, body_bytes: int, what: str = "a larger body") -> None:
        """Raise RequestTooLarge if a body of this size may not be read."""
        if body_bytes > self.max_body_bytes:
            raise RequestTooLarge(
                f"{what} came, at most {self.max_body_bytes} bytes per request; send fewer samples"
            )

    def check_structure(self, counted: Structure) -> None:
        """Raise RequestTooLarge if JSON of this structure may not be decoded."""
        if counted.elements > self.max_elements:
            raise RequestTooLarge(
                f"the body has more than {self.max_elements} elements (max_body_elements); send "
                "fewer samples"
            )
        if counted.deepest > BODY_DEPTH:
            raise RequestTooLarge(f"the body is nested more than {BODY_DEPTH} deep")

    def check_all(self, body_bytes: int) -> None:
        """Raise QueueFull if all bodies together, this one of `body_bytes` included, are too large.

        A single body is limited by `max_body_bytes` only.
        """
        others = self.pending_bytes - body_bytes
        if others and self.pending_bytes > self.max_pending_bytes:
            raise QueueFull(
                f"requests of {others} bytes are pending, at most {self.max_pending_bytes} at "
                "once; try again after Retry-After seconds"
            )


@dataclass(frozen=True)
class SampleLimits:
    """Limits on the samples of one request, on all pending samples, and on answer time."""

    max_samples: int
    max_response_bytes: int
    max_pending_samples: int
    request_deadline_s: float
    eval_wait_s: float

    def nearly_full(self, pending_samples: int) -> bool:
        """Return whether more than nine tenths of the allowed samples are pending."""
        return 10 * pending_samples > 9 * self.max_pending_samples

    def admit(self, count: int, pending_samples: int) -> None:
        """Raise if `count` samples may not join the `pending_samples` that are being scored.

        Raises:
            RequestTooLarge: `count` exceeds the limit of any request.
            QueueFull: too many samples are pending now.
        """
        if count > self.max_samples:
            raise RequestTooLarge(
                f"{count} samples came, at most {self.max_samples} per request; send fewer"
            )
        if count > self.max_pending_samples:
            raise RequestTooLarge(
                f"{count} samples came, at most {self.max_pending_samples} at a time "
                "(max_pending_samples); send fewer"
            )
        if pending_samples + count > self.max_pending_samples:
            raise QueueFull(
                f"{pending_samples} samples are pending and {count} came, at most "
                f"{self.max_pending_samples} at once; try again after Retry-After seconds"
            )


class SharedCounts:
    """Counters shared by the processes of one server; local if there is only one process.

    `pending`: pending samples, one slot per process; this process writes slot `mine`. `debt`: the
    samples scored beyond the rate, and when that was computed. `lock`: hold it to read counters and
    then update them.
    """

    def __init__(
        self,
        pending: MutableSequence[float] | None = None,
        debt: MutableSequence[float] | None = None,
        mine: int = 0,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.pending = array("d", [0.0]) if pending is None else pending
        self.debt = array("d", [0.0, time.monotonic()]) if debt is None else debt
        self.mine = mine
        self.lock = lock or nullcontext()

    @property
    def pending_samples(self) -> int:
        """Return the number of pending samples in all processes."""
        return int(sum(self.pending))

    def add(self, count: int) -> None:
        """Add `count` pending samples; a negative number removes them."""
        self.pending[self.mine] += count


@dataclass
class Share:
    """One key's share of the server; a limit of None means no limit.

    `samples_per_s` is a rate over time: one second's worth may be used in advance. A request larger
    than the remaining budget is served, and later requests wait until it is paid off.
    """

    key_name: str
    max_pending_samples: int | None = None
    samples_per_s: float | None = None
    counted: SharedCounts = field(default_factory=SharedCounts)

    @property
    def pending_samples(self) -> int:
        """Return the number of pending samples of this key."""
        return self.counted.pending_samples

    def take(self, count: int) -> None:
        """Reserve room for `count` samples, until it is given back.

        Raises:
            RequestTooLarge: `count` exceeds the share of the key.
            QueueFull: there is no room now; `retry_after_s` says when to try again.
        """
        if self.max_pending_samples is None and self.samples_per_s is None:
            self.counted.add(count)
        else:
            with self.counted.lock:
                self._enter(count)

    def give_back(self, count: int) -> None:
        """Give back the room of `count` samples that were scored."""
        self.counted.add(-count)

    @contextmanager
    def room(self, count: int) -> Generator[None]:
        """Reserve room for `count` samples while they are scored; raises as `take`."""
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)

    def _enter(self, count: int) -> None:
        most = self.max_pending_samples
        if most is not None and count > most:
            raise RequestTooLarge(
                f"{count} samples came, and key {self.key_name} may have {most} pending at once; "
                "send fewer"
            )
        if most is not None and self.pending_samples + count > most:
            raise QueueFull(
                f"{self.pending_samples} samples of key {self.key_name} are pending and {count} "
                f"came, at most {most} at once; try again after Retry-After seconds"
            )
        self._spend(count)
        self.counted.add(count)

    def _spend(self, count: int) -> None:
        rate, debt = self.samples_per_s, self.counted.debt
        if rate is None:
            return
        now_s = time.monotonic()
        owed, owed_at_s = debt
        owed = max(0.0, owed - (now_s - owed_at_s) * rate)
        if owed > rate:
            raise QueueFull(
                f"key {self.key_name} may score {rate:g} samples per second and has used them up; "
                "try again after Retry-After seconds",
                retry_after_s=owed / rate - 1,
            )
        debt[0], debt[1] = owed + count, now_s
