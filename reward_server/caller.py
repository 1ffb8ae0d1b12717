"""What one request asked and got: noted by those who serve it, read by the gate for log and limits.

The engine knows nothing of HTTP or keys; it notes what it does in `current()`, which is the
request's own wherever there is one, and asks it for room before it begins.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

from touchstone_rewards.reward_server.errors import QueueFull
from touchstone_rewards.reward_server.schemas import Sample, SampleResult


@dataclass
class Caller:
    """A key's owner and the share of the server that it may have; None: no limit.

    `samples_per_s` is a rate over time: a second's worth is given in advance, and a request larger
    than what is left of it is served and waited for afterwards.
    """

    name: str
    max_pending_samples: int | None = None
    samples_per_s: float | None = None
    pending_samples: int = 0
    _owed: float = 0.0
    _owed_at_s: float = field(default_factory=time.monotonic)

    @contextmanager
    def room(self, count: int) -> Iterator[None]:
        """Room for `count` samples while they are scored.

        Raises:
            QueueFull: there is none; `retry_after_s` says when it may be.
        """
        most = self.max_pending_samples
        if most is not None and self.pending_samples and self.pending_samples + count > most:
            raise QueueFull(
                f"{self.pending_samples} samples of key {self.name} are in work and {count} came, "
                f"at most {most} at once; try again after Retry-After seconds"
            )
        self._spend(count)
        self.pending_samples += count
        try:
            yield
        finally:
            self.pending_samples -= count

    def _spend(self, count: int) -> None:
        rate = self.samples_per_s
        if rate is None:
            return
        now_s = time.monotonic()
        self._owed = max(0.0, self._owed - (now_s - self._owed_at_s) * rate)
        self._owed_at_s = now_s
        if self._owed > rate:
            raise QueueFull(
                f"key {self.name} may score {rate:g} samples a second and had more than these; "
                "try again after Retry-After seconds",
                retry_after_s=self._owed / rate - 1,
            )
        self._owed += count


@dataclass
class Served:
    """One request: whose it is, and what was done."""

    caller: Caller | None = None
    request_id: str = ""
    profile: str = ""
    samples: int = 0
    scored: tuple[Sequence[Sample], Sequence[SampleResult]] = ((), ())
    errors: Sequence[str] = ()

    def room(self, count: int) -> AbstractContextManager[None]:
        """As `Caller.room`; without a caller there is always room."""
        self.samples += count
        return self.caller.room(count) if self.caller else nullcontext()

    def note(
        self,
        profile: str,
        samples: Sequence[Sample],
        results: Sequence[SampleResult],
        errors: Sequence[str],
    ) -> None:
        """What came of the samples; `errors`: the codes of those that failed."""
        self.profile = profile
        self.scored = samples, results
        self.errors = errors

    def forget(self) -> None:
        """Let go of samples and results."""
        self.scored = (), ()

    @property
    def failures(self) -> Counter[str]:
        """How many of the samples failed, by the error's code."""
        return Counter(self.errors)


_served: ContextVar[Served] = ContextVar("served")


def begin(caller: Caller | None, request_id: str = "") -> Served:
    """A new request: from now on `current()` in this task and in those that it starts."""
    served = Served(caller, request_id)
    _served.set(served)
    return served


def current() -> Served:
    """The request that is being served; a fresh one where none is, as in the `score` command."""
    return _served.get(None) or Served()
