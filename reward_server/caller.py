"""Per-request context (caller, profile, counts): the engine writes it, the gate logs it.

The engine knows nothing of HTTP or keys. It writes to `current()`, the context of the request being
served, and reserves room for the samples there before it scores them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

from msgspec import Struct

from touchstone_rewards.reward_server.limits import Share
from touchstone_rewards.reward_server.schemas import Sample, SampleResult


@dataclass
class Caller:
    """The owner of a key. `admin`: may load and unload models and reload profiles. `weight`: its
    share of the workers relative to other callers."""

    name: str
    share: Share
    admin: bool = False
    weight: float = 1.0


class Served(Struct):
    """One request: its caller, counts and errors; `scored` is filled only if `keeps_samples`."""

    caller: Caller | None = None
    request_id: str = ""
    profile: str = ""
    samples: int = 0
    keeps_samples: bool = False
    scored: tuple[Sequence[Sample], Sequence[SampleResult]] = ((), ())
    errors: Sequence[str] = ()

    def room(self, count: int) -> AbstractContextManager[None]:
        """Count the samples and reserve room for them in the share of the caller's key, if any."""
        self.samples += count
        return self.caller.share.room(count) if self.caller else _NO_SHARE

    def note(
        self,
        profile: str,
        samples: Sequence[Sample],
        results: Sequence[SampleResult],
        errors: Sequence[str],
    ) -> None:
        """Record the results of the samples; `errors`: the codes of those that failed."""
        self.profile = profile
        if self.keeps_samples:
            self.scored = samples, results
        self.errors = errors

    def forget(self) -> None:
        """Drop the references to samples and results."""
        self.scored = (), ()

    @property
    def failures(self) -> Counter[str]:
        """Return the number of failed samples by error code."""
        return Counter(self.errors)


_NO_SHARE: AbstractContextManager[None] = nullcontext()
_served: ContextVar[Served] = ContextVar("served")


def begin(caller: Caller | None, request_id: str = "", *, keeps_samples: bool = False) -> Served:
    """Start a new request: `current()` returns it in this task and in the tasks it starts."""
    served = Served(caller, request_id, keeps_samples=keeps_samples)
    _served.set(served)
    return served


def current() -> Served:
    """Return the request being served; an anonymous one outside of requests, as in `score`."""
    return _served.get(None) or begin(None)
