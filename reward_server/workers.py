"""Warm, killable worker processes: samples in, a score or an error for each, in their order.

A pool keeps `workers + spares` equal processes up and at most `workers` of them busy, so that one
is ready at once when another is killed. A call's samples go out in chunks, the chunks of several
calls in turn. Each sample has a deadline of its own, counted from when a worker begins it and
enforced by SIGKILL: it works on C code that holds the interpreter as on any other.

What happens to a sample:
- It runs past its deadline: `deadline_exceeded`, its worker is killed.
- It runs while its worker dies: `worker_lost`. It is not tried again, for it may be the cause.
- It has not begun when its worker goes: another worker gets it; the sample knows nothing of it.
- It has not begun by the call's `give_up_at`: `deadline_exceeded`, retryable. What runs by then may
  take `GIVE_UP_GRACE_S` more, so that no worker is killed for a sample about to be done.
- Its scorer raises, returns no proper score or needs too much memory: `scorer_failed`.

One pool serves one event loop (asyncio's or uvloop) and starts no threads. What runs in the workers
is `worker_process.py`, what starts them `fork_server.py`, the connection to one `worker_link.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from reward_server.errors import ConfigError
from reward_server.fork_server import ForkServer
from reward_server.schemas import Sample
from reward_server.scorers.base import Score, ScorerSpec
from reward_server.worker_calls import (
    DIED,
    GAVE_UP,
    NEVER_BEGUN,
    NO_WORKERS,
    NOT_RUNNING,
    Call,
    late,
)
from reward_server.worker_link import WorkerLink
from reward_server.worker_process import Scored, failed

GIVE_UP_GRACE_S = 0.05
# How long a worker may have a task and work on no sample of it before it counts as stuck.
PICK_UP_S = 1.0
START_TIMEOUT_S = 120.0
HELLO_TIMEOUT_S = 30.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.05, 5.0
# Failures in a row to bring up a worker after which waiting samples are not kept waiting.
FAILURES_TOO_MANY = 5

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Worker:
    """One process and what it has to do: the samples of `call` at `positions`."""

    generation: int
    link: WorkerLink = field(init=False)
    number: int = 0
    served: int = 0
    call: Call | None = None
    positions: list[int] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    nothing_since: float | None = None

    def running(self) -> int | None:
        """The position in the call of the sample that it is scoring, if that has no score yet."""
        if self.call is None or (index := self.link.running) is None:
            return None
        position = self.positions[index]
        return position if self.call.scores[position] is None else None

    def note(self, scored: Scored) -> None:
        """Hands the scores to the call."""
        if self.call is not None:
            for index, score in enumerate(scored.scores, scored.first):
                self.call.settle(self.positions[index : index + 1], score)


class WorkerPool:
    """Runs the scorers in processes; the module's docstring says what it promises.

    `workers`: how many samples are scored at a time. `spares`: how many more processes wait.
    `chunk`: the most samples sent to a worker at once. `recycle_after`: samples after which a
    worker is replaced. `memory_limit_bytes`: what a sample may allocate.
    """

    def __init__(
        self,
        scorers: Mapping[str, ScorerSpec],
        *,
        workers: int,
        spares: int = 1,
        chunk: int = 8,
        sample_deadline_s: float = 5.0,
        memory_limit_bytes: int = 2 * 1024**3,
        recycle_after: int = 100_000,
    ) -> None:
        self.restarts: Counter[str] = Counter()
        self._specs = dict(scorers)
        self._reads: dict[str, tuple[str, ...]] = {}
        self._size = workers
        self._spares = spares
        self._chunk = chunk
        self._deadline_s = sample_deadline_s
        self._memory_limit_bytes = memory_limit_bytes
        self._recycle_after = recycle_after
        self._too_late = late(f"took more than {sample_deadline_s:g} s", retryable=False)
        self._over: Score | None = NOT_RUNNING
        self._generation = 0
        self._server: ForkServer | None = None
        self._building = asyncio.Lock()
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._queue: deque[Call] = deque()
        self._calls: set[Call] = set()
        self._failures = 0
        self._short = asyncio.Event()
        self._full = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def alive(self) -> int:
        """How many workers are up, spares not counted."""
        return min(self._size, len(self._idle) + len(self._busy))

    @property
    def pending(self) -> int:
        """How many samples have no verdict yet, queued or running."""
        return sum(call.unsettled for call in self._calls)

    async def start(self) -> None:
        """Returns when all workers are up, their scorers built.

        Raises:
            ConfigError: a scorer cannot be built, or no worker comes up.
        """
        self._full.clear()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._start_server()
                self._keeper = asyncio.create_task(self._keep_full())
                await self._full.wait()
            self._over = None
        except TimeoutError as error:
            raise ConfigError(f"no workers after {START_TIMEOUT_S:.0f} s; see the log") from error
        finally:
            if self._over is not None:
                await self.stop()

    async def stop(self) -> None:
        """Kills all; what is pending gets `worker_lost`. A stopped pool can be started again."""
        self._over = NOT_RUNNING
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        for call in list(self._calls):
            self._leave(call, self._over)
            call.settle(range(len(call.samples)), self._over)
        for worker in list(self._workers):
            self._end(worker)
        if self._server is not None and self._server.alive:
            self._server.kill()

    async def add(self, scorers: Mapping[str, ScorerSpec]) -> None:
        """Adds scorers, or replaces those of the same name. Workers without them are replaced.

        Raises:
            ConfigError: one of them cannot be built; then nothing has changed.
        """
        async with self._building:
            if self._server is None or not self._server.alive:
                raise ConfigError("the worker pool is not running; try again when it is")
            self._reads |= await self._server.build(scorers)
            self._specs |= scorers
            self._generation += 1
        for worker in list(self._idle):
            self._end(worker, "reloaded")

    async def score(
        self,
        scorer: str,
        samples: Sequence[Sample],
        *,
        explain: bool = False,
        give_up_at: float | None = None,
    ) -> list[Score]:
        """One score a sample, in their order. `give_up_at` is in the event loop's time, seconds.

        When the caller is cancelled, what has not begun is dropped.

        Raises:
            KeyError: the pool has no such scorer.
        """
        loop = asyncio.get_running_loop()
        reads, count = self._reads[scorer], len(samples)
        if self._over is not None:
            return [self._over] * count
        if give_up_at is not None and give_up_at <= loop.time():
            return [NEVER_BEGUN] * count
        if not samples:
            return []
        call = Call(
            scorer,
            reads,
            samples,
            explain,
            self._chunk,
            loop.create_future(),
            [None] * count,
            count,
        )
        if give_up_at is not None:
            call.timer = loop.call_at(give_up_at, self._give_up, call)
        self._calls.add(call)
        self._requeue(call, range(count))
        self._pump()
        try:
            await call.done
        finally:
            self._calls.discard(call)
            if call.timer is not None:
                call.timer.cancel()
            if call.unsettled:
                self._leave(call, NEVER_BEGUN)
        return [score for score in call.scores if score is not None]

    def _pump(self) -> None:
        """Hands out chunks, one call after the other, while a worker may take one.

        A call that would leave workers idle is cut into smaller chunks.
        """
        while self._queue and self._idle and len(self._busy) < self._size:
            call = self._queue.popleft()
            free = max(1, self._size - len(self._busy) - len(self._queue))
            count = min(call.chunk, -(-len(call.waiting) // free))
            positions = [call.waiting.popleft() for _ in range(count)]
            call.queued = bool(call.waiting)
            if call.queued:
                self._queue.append(call)
            if positions:
                self._send(call, positions)

    def _send(self, call: Call, positions: list[int]) -> None:
        worker = self._idle[-1]
        task = call.task(worker.number + 1, positions)
        try:
            worker.link.send(task)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # One of them cannot be sent: one by one it will be found.
            if len(positions) == 1:
                call.settle(positions, failed(f"the sample cannot be sent to a worker: {error}"))
            call.chunk = 1
            self._requeue(call, positions)
            return
        self._busy.add(self._idle.pop())
        worker.number += 1
        worker.call, worker.positions, worker.nothing_since = call, positions, None
        if worker.timer is None:
            self._set_timer(worker, self._deadline_s)

    def _requeue(self, call: Call, positions: Sequence[int]) -> None:
        """Puts those without a score before the call's others, unless the call is over."""
        left = call.open(positions)
        if call.over is not None:
            call.settle(left, call.over)
        elif left:
            call.waiting.extendleft(reversed(left))
            if not call.queued:
                call.queued = True
                self._queue.append(call)

    def _on_scored(self, worker: _Worker, scored: Scored) -> None:
        if scored.pid:
            self._welcome(worker, scored.pid)
        worker.note(scored)
        if scored.last:
            self._finish(worker, scored.retire)
        self._pump()

    def _on_lost(self, worker: _Worker) -> None:
        if worker.link.pid == 0:
            self._failures += 1
        elif (position := worker.running()) is not None and worker.call is not None:
            sample = worker.call.samples[position]
            log.warning(
                "worker %d died while %s scored sample %r",
                worker.link.pid, worker.call.scorer, sample.id,
            )  # fmt: skip
        self._end(worker, "crashed", DIED)
        self._pump()

    def _welcome(self, worker: _Worker, pid: int) -> None:
        worker.link.pid = pid
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None
        self._failures = 0
        self._idle.append(worker)
        if worker.generation != self._generation:
            self._end(worker, "reloaded")
        if self.alive == self._size:
            self._full.set()

    def _finish(self, worker: _Worker, retire: str) -> None:
        """The worker's task is over: on to the next one, or to its end."""
        worker.served += len(worker.positions)
        if worker.generation != self._generation:
            retire = "reloaded"
        elif worker.served >= self._recycle_after:
            retire = "recycled"
        self._busy.discard(worker)
        self._idle.append(worker)
        call, worker.call = worker.call, None
        if call is not None:
            self._requeue(call, worker.positions)
        if retire:
            self._end(worker, retire)

    def _end(self, worker: _Worker, reason: str = "", verdict: Score | None = None) -> None:
        """Kills the worker; the sample it is scoring gets `verdict`, the rest another worker."""
        if worker not in self._workers:
            return
        position = worker.running()
        for scored in worker.link.kill():
            worker.note(scored)
        if worker.timer is not None:
            worker.timer.cancel()
        self._workers.discard(worker)
        self._busy.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.call is not None:
            if position is not None and verdict is not None:
                worker.call.settle([position], verdict)
            self._requeue(worker.call, worker.positions)
        if reason:
            self.restarts[reason] += 1
        self._short.set()

    def _leave(self, call: Call, over: Score) -> None:
        """No further sample of the call is begun; those get `over`. What runs may finish."""
        call.over = over
        call.settle(call.waiting, over)
        call.waiting.clear()
        for worker in self._busy:
            if worker.call is call:
                worker.link.leave(worker.number)

    def _give_up(self, call: Call) -> None:
        self._leave(call, NEVER_BEGUN)
        if call.unsettled:
            loop = asyncio.get_running_loop()
            call.timer = loop.call_later(GIVE_UP_GRACE_S, self._abandon, call)

    def _abandon(self, call: Call) -> None:
        for worker in [worker for worker in self._busy if worker.call is call]:
            if worker.running() is not None:
                self._end(worker, "gave_up", GAVE_UP)
        call.settle(range(len(call.samples)), NEVER_BEGUN)
        self._pump()

    def _set_timer(self, worker: _Worker, delay_s: float) -> None:
        worker.timer = asyncio.get_running_loop().call_later(delay_s, self._check, worker)

    def _check(self, worker: _Worker) -> None:
        """Kills a worker that is late, or comes back when it would be.

        One timer a worker, not one a sample: it looks at the board, so no sample sets it.
        """
        worker.timer = None
        if worker.link.pid == 0:
            self._on_silence(worker)
        elif worker.call is None:
            return
        elif worker.running() is None:
            self._check_pick_up(worker)
        elif (left_s := worker.link.started_at + self._deadline_s - time.monotonic()) > 0:
            self._set_timer(worker, left_s)
        else:
            self._end(worker, "deadline", self._too_late)
            self._pump()

    def _check_pick_up(self, worker: _Worker) -> None:
        """Twice seen with a task and at no sample of it: nobody is to blame, but it is stuck."""
        now = time.monotonic()
        if worker.nothing_since is None:
            worker.nothing_since = now
        if now - worker.nothing_since < PICK_UP_S:
            self._set_timer(worker, PICK_UP_S)
            return
        self._end(worker, "stuck")
        self._pump()

    def _on_silence(self, worker: _Worker) -> None:
        """A worker that does not come up: the fork server builds, or it is stuck."""
        if self._building.locked() or self._server is None or not self._server.alive:
            self._set_timer(worker, HELLO_TIMEOUT_S)
            return
        log.error("no worker within %g s; starting the fork server again", HELLO_TIMEOUT_S)
        self._server.kill()
        self._end(worker, "stuck")

    async def _start_server(self) -> None:
        async with self._building:
            server = ForkServer(self._memory_limit_bytes, self._short.set)
            try:
                self._reads = await server.build(self._specs)
            except BaseException:
                server.kill()
                raise
            self._server = server

    async def _keep_full(self) -> None:
        """Brings up workers whenever there are too few, and the fork server if it is gone."""
        while True:
            self._short.clear()
            try:
                await self._fill()
            except (ConfigError, OSError) as error:
                log.error("workers cannot be started: %s", error)
                self._failures += 1
                self._short.set()
            if self._failures:
                if self._failures >= FAILURES_TOO_MANY and not self.alive:
                    self._turn_away()
                await asyncio.sleep(min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**self._failures))
            await self._short.wait()

    async def _fill(self) -> None:
        if self._server is None or not self._server.alive:
            self.restarts["fork_server"] += 1
            await self._start_server()
        while self._server and len(self._workers) < self._size + self._spares:
            worker = _Worker(self._generation)
            worker.link = WorkerLink(
                self._server, partial(self._on_scored, worker), partial(self._on_lost, worker)
            )
            self._workers.add(worker)
            self._set_timer(worker, HELLO_TIMEOUT_S)

    def _turn_away(self) -> None:
        for call in self._queue:
            call.queued = False
            call.settle(call.waiting, NO_WORKERS)
            call.waiting.clear()
        self._queue.clear()
