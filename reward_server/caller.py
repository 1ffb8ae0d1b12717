"""Per-request context (caller, profile, counts): the engine writes it, the gate logs it.

The engine knows nothing of HTTP or keys. It writes to `current()`, the context of the request being
served, and asks it for room before it begins.
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
    claim on the workers beside other callers'."""

    name: str
    share: Share
    admin: bool = False
    weight: float = 1.0


class Served(Struct):
    """One request: whose it is, and what was done; `scored` only where it `keeps_samples`."""

    caller: Caller | None = None
    request_id: str = ""
    profile: str = ""
    samples: int = 0
    keeps_samples: bool = False
    scored: tuple[Sequence[Sample], Sequence[SampleResult]] = ((), ())
    errors: Sequence[str] = ()

    def room(self, count: int) -> AbstractContextManager[None]:
        """Count the samples and hold room for them in the key's share, where there is a key."""
        self.samples += count
        return self.caller.share.room(count) if self.caller else _NO_SHARE

    def note(
        self,
        profile: str,
        samples: Sequence[Sample],
        results: Sequence[SampleResult],
        errors: Sequence[str],
    ) -> None:
        """What came of the samples; `errors`: the codes of those that failed."""
        self.profile = profile
        if self.keeps_samples:
            self.scored = samples, results
        self.errors = errors

    def forget(self) -> None:
        """Let go of samples and results."""
        self.scored = (), ()

    @property
    def failures(self) -> Counter[str]:
        """How many of the samples failed, by the error's code."""
        return Counter(self.errors)


_NO_SHARE: AbstractContextManager[None] = nullcontext()
_served: ContextVar[Served] = ContextVar("served")


def begin(caller: Caller | None, request_id: str = "", *, keeps_samples: bool = False) -> Served:
    """A new request: from now on `current()` in this task and in those that it starts."""
    served = Served(caller, request_id, keeps_samples=keeps_samples)
    _served.set(served)
    return served


def current() -> Served:
    """The request that is being served; a nameless one where none is, as in `score`."""
    return _served.get(None) or begin(None)
