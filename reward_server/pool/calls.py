"""One call of the worker pool: its samples, what is still to be handed out, the verdicts so far.

Here too are the verdicts that no scorer gives: what a sample gets when its worker or its time is
lost. No processes here: see `pool.py`.
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
DIED_TWICE = lost("two workers died that had this sample next in hand", retryable=False)
NOT_RUNNING = lost("the worker pool is not running", retryable=True)
NO_WORKERS = lost("no worker process can be started; see the server's log", retryable=True)
NEVER_BEGUN = late("the request's deadline passed before it was its turn", retryable=True)
GAVE_UP = late("the request's deadline passed while it was being scored", retryable=True)
# A sample that ran for this part of the time its request had ran out of time by itself.
OWN_PART = 0.5


def ran_out(deadline_s: float) -> Score:
    """Return the verdict on a sample that ran to the end of its own deadline."""
    error = sample_error("deadline_exceeded", f"took more than {deadline_s:g} s")
    return Score(error=error, timed_out=True)


def gave_up(sample_begun_at_s: float, request_begun_at_s: float) -> Score:
    """Return the verdict on a sample that still runs now that its request's deadline has passed.

    One that had most of the request's time would need it again: it fails, and is not worth another
    try. One whose turn came late did nothing wrong.
    """
    now = time.monotonic()
    request_s = now - request_begun_at_s
    if now - sample_begun_at_s < OWN_PART * request_s:
        return GAVE_UP
    return late(f"took more than the {request_s:.3g} s that its request had", retryable=False)


# A caller's name and a scorer's key: what shares neither with another is not held up by it.
Flow = tuple[str, str]


@dataclass(slots=True)
class Account:
    """Worker time spent for someone, by weight."""

    spent_s: float = 0.0

    def charge(self, seconds: float, weight: float) -> None:
        """A sample took a worker so long."""
        self.spent_s += seconds / weight


class Call(Struct, eq=False):
    """One `score()`. `waiting`: positions of the samples to be handed out; `over`: once set, none
    is handed out any more, and this is what they get instead. `on_score` is told each verdict.
    `batch`: whether its scorer is given a chunk at once. `served`: the request that it is a part
    of. `deaths`: see `outlived`. The others it sets itself. `flow`: whose it is, the one who asks
    now, and its scorer; `kind`: what samples have in common that may be sent to a worker together;
    `accounts`: what its worker time is counted to, by the caller's `weight`."""

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
    accounts: tuple[Account, ...] = ()
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
        """A worker spent so long on one of its samples."""
        for account in self.accounts:
            account.charge(seconds, self.weight)

    def outlived(self, position: int) -> bool:
        """Count a worker that died with no sample running and this one next; return if it goes on.

        The second such death ends the sample. What a worker died of may be what it was about to
        say of that sample, and dying of it must not be all that the pool does. A death ends one
        sample at most: workers are killed for no sample's sake too.
        """
        self.deaths[position] = self.deaths.get(position, 0) + 1
        if self.deaths[position] > 1:
            self.settle(position, DIED_TWICE)
        return self.scores[position] is None

    def settle(self, position: int, score: Score) -> None:
        """The first verdict on a sample stands: it may be scored twice when a worker is lost."""
        if self.scores[position] is None:
            self.scores[position] = score
            self.unsettled -= 1
            if self.on_score is not None:
                self.on_score(position, score)
            if self.unsettled == 0 and not self.done.done():
                self.done.set_result(None)

    def end(self, score: Score) -> None:
        """Nothing more of it is to be handed out: what was going to be gets `score`."""
        self.over = score
        while self.waiting:
            self.settle(self.waiting.popleft(), score)

    def settle_all(self, score: Score) -> None:
        """Whatever has no verdict gets `score`."""
        for position in range(len(self.samples)):
            self.settle(position, score)

    def next_positions(self, count: int) -> list[int]:
        """Takes up to `count` of the samples that are waiting."""
        positions: list[int] = []
        while self.waiting and len(positions) < count:
            position = self.waiting.popleft()
            if self.scores[position] is None:
                positions.append(position)
        return positions

    def sent(self, position: int) -> Sample:
        """The sample with no more fields than the scorer reads."""
        sample = self.samples[position]
        fields = {name: getattr(sample, name) for name in self.reads}
        fields.setdefault("response", "")
        return Sample(sample.id, **fields)


# A sample: its call and its position there.
HandSlot = tuple[Call, int]


def task(first: int, slots: Sequence[HandSlot]) -> Task:
    """The samples, of calls of one kind, as a worker is sent them."""
    scorer, explain, memory_bytes = slots[0][0].kind
    samples = [call.sent(position) for call, position in slots]
    return Task(first, scorer, explain, samples, memory_bytes)
