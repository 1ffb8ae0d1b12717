"""How much a request may ask for: bytes, samples, time, and its key's share of the server.

Every refusal for size or load is raised here. The values come from `settings.py`.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Generator, MutableSequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from touchstone_rewards.reward_server.errors import QueueFull, RequestTooLarge
from touchstone_rewards.reward_server.structure import MAX_DEPTH, Structure

# A request, its list of samples and a sample lie around the metadata.
BODY_DEPTH = MAX_DEPTH + 3


@dataclass
class BodyLimits:
    """Limits of one request's body, and of all bodies that are being read, scored or answered.

    `pending_bytes` is the size of the latter now: requests unpacked, and answers until the client
    has taken them. While it is at most `unchecked_bytes`, no limit of bytes is passed.
    `max_elements`: members, items and containers of one body's JSON.
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
                f"{what} came, at most {self.max_body_bytes} bytes a request; send fewer samples"
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
        """Raise QueueFull if all bodies together, this one of `body_bytes` included, are too many.

        A body that is alone may be as large as a body may be.
        """
        others = self.pending_bytes - body_bytes
        if others and self.pending_bytes > self.max_pending_bytes:
            raise QueueFull(
                f"requests of {others} bytes are in work, at most {self.max_pending_bytes} at "
                "once; try again after Retry-After seconds"
            )


@dataclass(frozen=True)
class SampleLimits:
    """Limits of one request's samples, of all samples in work, and of the time an answer takes."""

    max_samples: int
    max_response_bytes: int
    max_pending_samples: int
    request_deadline_s: float
    eval_wait_s: float

    def nearly_full(self, pending_samples: int) -> bool:
        """Are nine tenths of the samples in work that may be?"""
        return 10 * pending_samples > 9 * self.max_pending_samples

    def admit(self, count: int, pending_samples: int) -> None:
        """Raise if `count` samples may not join the `pending_samples` that are being scored.

        Raises:
            RequestTooLarge: more samples than any request may have.
            QueueFull: too many are in work now.
        """
        if count > self.max_samples:
            raise RequestTooLarge(
                f"{count} samples came, at most {self.max_samples} a request; send fewer"
            )
        if count > self.max_pending_samples:
            raise RequestTooLarge(
                f"{count} samples came, at most {self.max_pending_samples} at a time "
                "(max_pending_samples); send fewer"
            )
        if pending_samples + count > self.max_pending_samples:
            raise QueueFull(
                f"{pending_samples} samples are in work and {count} came, at most "
                f"{self.max_pending_samples} at once; try again after Retry-After seconds"
            )


class SharedCounts:
    """Numbers that the processes of one server share; of a server of one process, its own.

    `pending`: samples in work, a place for each process, of which this one writes `mine`. `debt`:
    samples that were scored beyond the rate, and the moment of that. `lock`: for whoever reads
    numbers and then writes what follows from them.
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
        """Samples in work now, in all processes."""
        return int(sum(self.pending))

    def add(self, count: int) -> None:
        """Count so many samples as in work; a negative number: as done."""
        self.pending[self.mine] += count


@dataclass
class Share:
    """One key's share of the server; None: no limit.

    `samples_per_s` is a rate over time: one second's worth may be used in advance, and a request
    larger than what is left is served and paid for by waiting afterwards.
    """

    key_name: str
    max_pending_samples: int | None = None
    samples_per_s: float | None = None
    counted: SharedCounts = field(default_factory=SharedCounts)

    @property
    def pending_samples(self) -> int:
        """Samples of the key in work now."""
        return self.counted.pending_samples

    @contextmanager
    def room(self, count: int) -> Generator[None]:
        """Hold room for `count` samples while they are scored.

        Raises:
            RequestTooLarge: there never is so much.
            QueueFull: there is none now; `retry_after_s` says when there may be.
        """
        if self.max_pending_samples is None and self.samples_per_s is None:
            self.counted.add(count)
        else:
            with self.counted.lock:
                self._enter(count)
        try:
            yield
        finally:
            self.counted.add(-count)

    def _enter(self, count: int) -> None:
        most = self.max_pending_samples
        if most is not None and count > most:
            raise RequestTooLarge(
                f"{count} samples came, and key {self.key_name} may have {most} in work at once; "
                "send fewer"
            )
        if most is not None and self.pending_samples + count > most:
            raise QueueFull(
                f"{self.pending_samples} samples of key {self.key_name} are in work and {count} "
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
                f"key {self.key_name} may score {rate:g} samples a second and had more than these; "
                "try again after Retry-After seconds",
                retry_after_s=owed / rate - 1,
            )
        debt[0], debt[1] = owed + count, now_s
