"""One call of the worker pool: its samples, those still to be handed out, the verdicts so far.

It also defines the verdicts of samples that lost their worker or ran out of time. The processes are
in `pool.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from msgspec import Struct, field

from touchstone_rewards.reward_server.caller import Served, current
from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.pool.process import Task
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score


def lost(message: str, *, retryable: bool) -> Score:
    return Score(error=sample_error("worker_lost", message, retryable=retryable))


def late(message: str, *, retryable: bool) -> Score:
    return Score(error=sample_error("deadline_exceeded", message, retryable=retryable))


DIED = lost("the worker died while it scored this sample", retryable=False)
DIED_TWICE = lost("two workers died that had this sample in hand", retryable=False)
NOT_RUNNING = lost("the worker pool is not running", retryable=True)
NO_WORKERS = lost("no worker process can be started; see the server's log", retryable=True)
NEVER_BEGUN = late("the request's deadline passed before this sample was begun", retryable=True)
GAVE_UP = late("the request's deadline passed while it was being scored", retryable=True)
# A sample that ran for this share of its request's time counts as too slow itself.
OWN_PART = 0.5


def ran_out(deadline_s: float) -> Score:
    """Return the verdict on a sample that exceeded its own deadline."""
    error = sample_error("deadline_exceeded", f"took more than {deadline_s:g} s")
    return Score(error=error, timed_out=True)


def gave_up(sample_begun_at_s: float, request_begun_at_s: float) -> Score:
    """Return the verdict on a sample that still runs when its request's deadline has passed.

    A sample that had most of the request's time would need it again, so the error is not
    retryable. A sample that began late is retryable.
    """
    now_s = time.monotonic()
    request_s = now_s - request_begun_at_s
    if now_s - sample_begun_at_s < OWN_PART * request_s:
        return GAVE_UP
    return late(f"took more than the {request_s:.3g} s that its request had", retryable=False)


# A caller's name and a scorer's key. Flows that share neither do not hold each other up.
Flow = tuple[str, str]


# A sample that takes at most this long is quick enough for the event loop.
QUICK_S = 0.005


@dataclass(slots=True)
class Account:
    """Worker time spent for one caller or scorer, divided by its weight."""

    spent_s: float = 0.0


@dataclass(slots=True)
class Timing:
    """How fast a scorer is. `quick_in_a_row`: its latest samples that took `QUICK_S` or less."""

    quick_in_a_row: int = 0


class Call(Struct, eq=False):
    """One call of `score()`. `waiting`: positions of samples not yet handed out. `over`: once set,
    no more are handed out, and they get this score. `on_score` is called with each verdict.
    `batch`: whether the scorer takes a whole chunk at once. `served`: the request it belongs to.
    `deaths`: see `outlived`. The rest is set by the call itself. `flow`: the caller and the scorer.
    `kind`: what samples must share to be sent to a worker together. `accounts`: the accounts of
    caller and flow to charge for its worker time, divided by the caller's `weight`."""

    scorer: str
    reads: tuple[str, ...]
    samples: Sequence[Sample]
    explain: bool
    chunk: int
    done: asyncio.Future[None]
    on_score: Callable[[int, Score], None] | None = None
    after_s: float = 0.0
    deadline_s: float | None = None
    memory_bytes: int | None = None
    batch: bool = False
    served: Served = field(default_factory=current)
    deaths: dict[int, int] = {}
    flow: Flow = ("", "")
    kind: tuple[str, bool, int] = ("", False, 0)
    accounts: tuple[Account, Account, Timing] = (Account(), Account(), Timing())
    weight: float = 1.0
    scores: list[Score | None] = []
    unsettled: int = 0
    waiting: deque[int] = field(default_factory=cast("type[deque[int]]", deque))
    queued: bool = False
    over: Score | None = None
    timer: asyncio.TimerHandle | None = None
    begun_at_s: float = field(default_factory=time.monotonic)
    due_s: float = 0.0

    def __post_init__(self) -> None:
        caller = self.served.caller
        if caller is not None:
            self.weight = caller.weight
        self.flow = (caller.name if caller else "", self.scorer)
        self.kind = self.scorer, self.explain, self.memory_bytes or 0
        self.due_s = self.begun_at_s + self.after_s
        self.unsettled = len(self.samples)
        self.waiting.extend(range(self.unsettled))
        self.scores = [None] * self.unsettled

    @property
    def scorer_name(self) -> str:
        """The scorer's name without its config."""
        return self.scorer.partition(" ")[0]

    def charge(self, seconds: float) -> None:
        """Charge the time that a worker spent on one of its samples."""
        caller, flow, timing = self.accounts
        caller.spent_s += seconds / self.weight
        flow.spent_s += seconds / self.weight
        timing.quick_in_a_row = timing.quick_in_a_row + 1 if seconds <= QUICK_S else 0

    def outlived(self, position: int) -> bool:
        """Count a worker that died with this sample in hand, not necessarily because of it; return
        whether to retry the sample.

        The second such death ends the sample: the worker may have died of its result, and a sample
        must not kill workers forever. Each death ends at most one sample, because workers are also
        killed for other reasons. From the first on, a worker has one sample of the call and no
        other: scores that it did not send before it died would let the wrong sample be blamed.
        """
        self.deaths[position] = self.deaths.get(position, 0) + 1
        if self.deaths[position] > 1:
            self.settle(position, DIED_TWICE)
        return self.scores[position] is None

    def settle(self, position: int, score: Score) -> None:
        """Record the first verdict on a sample; it may be scored twice when a worker is lost."""
        if self.scores[position] is None:
            self.scores[position] = score
            self.unsettled -= 1
            if self.on_score is not None:
                self.on_score(position, score)
            if self.unsettled == 0 and not self.done.done():
                self.done.set_result(None)

    def end(self, score: Score) -> None:
        """Stop handing out samples: those still waiting get `score`."""
        self.over = score
        while self.waiting:
            self.settle(self.waiting.popleft(), score)

    def settle_all(self, score: Score) -> None:
        """Give `score` to every sample without a verdict."""
        for position in range(len(self.samples)):
            self.settle(position, score)

    def next_positions(self, count: int) -> list[int]:
        """Take up to `count` of the waiting samples."""
        positions: list[int] = []
        while self.waiting and len(positions) < count:
            position = self.waiting.popleft()
            if self.scores[position] is None:
                positions.append(position)
        return positions

    def sent(self, position: int) -> Sample:
        """Return the sample with only the fields that the scorer reads."""
        sample = self.samples[position]
        fields = {name: getattr(sample, name) for name in self.reads}
        fields.setdefault("response", "")
        return Sample(sample.id, **fields)


# A sample, as its call and its position in the call.
HandSlot = tuple[Call, int]


def task(first: int, slots: Sequence[HandSlot]) -> Task:
    """Return the message that sends these samples, from calls of one kind, to a worker."""
    scorer, explain, memory_bytes = slots[0][0].kind
    samples = [call.sent(position) for call, position in slots]
    return Task(first, scorer, explain, samples, memory_bytes)
