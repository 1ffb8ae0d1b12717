"""Warm, killable worker processes that return a score or an error for each sample, in order.

A pool keeps `workers + spares` equal processes up: a spare is ready when another is killed or held
by slow samples. `__init__.py` lists the outcomes of a sample; `turns.py` decides whose turn it is.
One pool serves one event loop and starts no threads. Its parts: `process`, `fork_server`, `link`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.pool.calls import (
    DIED,
    NEVER_BEGUN,
    NO_WORKERS,
    NOT_RUNNING,
    Call,
    Flow,
    HandSlot,
    Timing,
    gave_up,
)
from touchstone_rewards.reward_server.pool.failures import log_verdict
from touchstone_rewards.reward_server.pool.fork_server import ForkServer
from touchstone_rewards.reward_server.pool.link import HAND_SAMPLES, STALL_S, Worker, stuck_flows
from touchstone_rewards.reward_server.pool.process import ScoredTask
from touchstone_rewards.reward_server.pool.turns import CallTurns
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec

GIVE_UP_GRACE_S = 0.05
START_TIMEOUT_S, HELLO_TIMEOUT_S = 120.0, 30.0
FIRST_BACKOFF_S, MOST_DOUBLINGS = 0.05, 7
FAILURES_TOO_MANY = 5  # failed starts in a row after which waiting samples get an error
log = logging.getLogger(__name__)


class WorkerPool:
    """Runs the scorers in processes; the docstring of the package lists the outcomes of a sample.

    `workers`: number of samples scored at a time. `spares`: number of further processes kept ready.
    `chunk`: samples of one call handed out at once. `recycle_after`: samples after which a worker
    is replaced. `memory_limit_bytes`: per sample. `restarts`: processes replaced, by reason.
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
        self._size, self._spares, self._chunk = workers, spares, chunk
        self._deadline_s = sample_deadline_s
        self._recycle_after = recycle_after
        self._over: Score | None = NOT_RUNNING
        self._short = asyncio.Event()
        self._full = asyncio.Event()
        self._server = ForkServer(scorers, memory_limit_bytes, self._lose_all)
        self._keeper: asyncio.Task[None] | None = None
        self._failures = 0
        self._pumps = False
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._queue = CallTurns()
        self._calls: set[Call] = set()

    @property
    def alive(self) -> int:
        """The number of workers that are up, without spares."""
        return min(self._size, len(self._idle) + len(self._busy))

    @property
    def pending(self) -> int:
        """The number of samples without a verdict, queued or running."""
        return sum(call.unsettled for call in self._calls)

    def timing(self, scorer: str) -> Timing:
        """Return how fast a scorer was in the workers, by its key."""
        return self._queue.timings[scorer]

    async def start(self) -> None:
        """Start all workers and wait until their scorers are built.

        Raises:
            ConfigError: a scorer cannot be built, or no worker comes up.
        """
        self._full.clear()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._server.ensure()
                self._keeper = asyncio.create_task(self._keep_full())
                await self._full.wait()
            self._over = None
        except TimeoutError as error:
            raise ConfigError(f"no workers after {START_TIMEOUT_S:.0f} s; see the log") from error
        finally:
            if self._over is not None:
                await self.stop()

    async def stop(self) -> None:
        """Kill all workers; pending samples get `worker_lost`. A stopped pool can start again."""
        self._over = NOT_RUNNING
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        for call in self._calls:
            call.end(NOT_RUNNING)
            call.settle_all(NOT_RUNNING)
        self._queue.clear()
        for worker in list(self._workers):
            self._end(worker)
        self._server.kill()

    async def add(self, scorers: Mapping[str, ScorerSpec], gone: Iterable[str] = ()) -> None:
        """Add scorers; those `gone` are not built again. Workers of older sets are replaced.

        Raises:
            ConfigError: one of them cannot be built; then nothing has changed.
        """
        await self._server.add(scorers, gone)
        for worker in filter(self._worn, list(self._idle)):
            self._end(worker, "reloaded")

    async def score(
        self,
        scorer: str,
        samples: Sequence[Sample],
        *,
        explain: bool = False,
        give_up_at_s: float | None = None,
        on_score: Callable[[int, Score], None] | None = None,
        after_s: float = 0.0,
        deadline_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> list[Score]:
        """Return one score per sample, in order. `give_up_at_s` is in seconds of loop time.

        If the caller is cancelled, samples not yet begun are dropped. `on_score` gets each verdict.
        Other calls go first for `after_s`. `deadline_s` and `memory_bytes`: see `ScorerEntry`.

        Raises:
            KeyError: the pool has no such scorer.
        """
        loop = asyncio.get_running_loop()
        if self._over is not None:
            return [self._over] * len(samples)
        if give_up_at_s is not None and give_up_at_s <= loop.time():
            return [NEVER_BEGUN] * len(samples)
        about = scorer, self._server.reads[scorer], samples, explain, self._chunk
        call = Call(*about, loop.create_future(), on_score, after_s, deadline_s, memory_bytes)
        call.batch = scorer in self._server.batches
        if give_up_at_s is not None:
            call.timer = loop.call_at(give_up_at_s, self._give_up, call)
        self._calls.add(call)
        try:
            if samples:
                self._queue.append(call)
                if not self._pumps:  # when all calls are there that came at the same time
                    self._pumps = True
                    loop.call_soon(self._pump)
                await call.done
        finally:
            self._calls.discard(call)
            if call.timer is not None:
                call.timer.cancel()
            if call.unsettled:
                self._leave(call)
        return [score for score in call.scores if score is not None]

    def _requeue(self, slots: Sequence[HandSlot]) -> None:
        """Put samples back at the front of their call's queue, unless the call is over."""
        for call, position in reversed(slots):
            if call.over is not None:
                call.settle(position, call.over)
                continue
            call.waiting.appendleft(position)
            if not call.queued:
                self._queue.append(call)

    def _pump(self, worker: Worker | None = None) -> None:
        """Hand out waiting samples: to idle workers, then to busy ones (only `worker`, if given).

        If slow samples hold all workers, a spare one serves the flows of other samples.
        """
        self._pumps = False
        while self._queue.waiting and self._idle:
            stuck = stuck_flows(self._busy) if len(self._busy) >= self._size else ()
            most = self._size + min(self._spares, len(stuck))
            if len(self._busy) >= most or (stuck and not self._queue.any_outside(stuck)):
                break
            idle = self._idle.pop()
            self._busy.add(idle)
            self._hand_out(idle, max(1, self._size - len(self._busy) + 1), stuck)
        if self._queue.waiting:
            stuck = stuck_flows(self._busy) if len(self._busy) > self._size else ()
            for busy in list(self._busy) if worker is None else [worker]:
                if busy in self._busy and not busy.stalled and not self._worn(busy):
                    self._hand_out(busy, 0, stuck)

    def _hand_out(self, worker: Worker, free: int, stuck: Collection[Flow]) -> None:
        """Give the worker its share of the calls: one chunk of each while `free` others share, else
        as much as it may have. Samples of one kind share a message, even across callers; a batch is
        a message of its own. After an unexplained death, one sample has a worker to itself."""
        queue, most = self._queue, worker.most_in_hand(self._chunk)
        turns = -(-queue.waiting // free) if free else HAND_SAMPLES
        slots: list[HandSlot] = []
        given = False
        while queue.waiting and turns and len(worker.hand) + len(slots) < most:
            if (call := queue.popleft(stuck)) is None:
                break
            if call.deaths and (worker.hand or slots):
                queue.append(call)
                break
            share = -(-len(call.waiting) // max(1, free - queue.waiting))
            room = 1 if call.deaths else most - len(worker.hand) - len(slots)
            positions = call.next_positions(min(call.chunk, share, room))
            if call.waiting:
                queue.append(call)
            if slots and (call.batch or slots[0][0].kind != call.kind):
                given, slots = worker.give_alike(slots) or given, []
            slots += [(call, position) for position in positions]
            turns = 0 if call.deaths else turns - bool(positions)
        if worker.give_alike(slots) or given:
            worker.send()
            if not worker.watched:
                worker.check_in(min(STALL_S, self._deadline_s))
        self._rest(worker)

    def _rest(self, worker: Worker) -> None:
        """Mark a worker with nothing in hand as idle."""
        if not worker.hand and worker in self._workers:
            self._busy.discard(worker)
            worker.nothing_since_s = None
            if worker not in self._idle:
                self._idle.append(worker)

    def _worn(self, worker: Worker) -> str:
        """Return why the worker must be replaced once it has nothing in hand, or ""."""
        if worker.generation != self._server.generation:
            return "reloaded"
        return "recycled" if worker.served >= self._recycle_after else ""

    def _on_scored(self, worker: Worker, scored: ScoredTask) -> None:
        worker.nothing_since_s = None
        if scored.pid:
            self._welcome(worker, scored.pid)
        self._requeue(worker.take(scored))
        if scored.retire:
            self._end(worker, scored.retire)
        elif reason := self._worn(worker):
            self._requeue(worker.recall())
            if not worker.hand:
                self._end(worker, reason)
        self._rest(worker)
        self._pump(worker)

    def _on_lost(self, worker: Worker) -> None:
        self._failures += worker.pid == 0
        if self._server.alive:
            self._end(worker, "crashed", DIED)
            self._pump()
        else:
            self._lose_all()

    def _lose_all(self) -> None:
        """Start over with a new fork server, since all workers die with the old one."""
        self._server.kill()
        for worker in list(self._workers):
            self._end(worker, "crashed")
        self._short.set()
        self._pump()

    def _welcome(self, worker: Worker, pid: int) -> None:
        worker.pid = pid
        worker.check_in(None)
        self._failures = 0
        self._idle.append(worker)
        if self.alive == self._size:
            self._full.set()

    def _end(self, worker: Worker, reason: str = "", verdict: Score | None = None) -> None:
        """Kill the worker. The running sample gets `verdict`, the rest go to other workers. The
        samples of a running batch are retried one by one, since any may be the cause. Without a
        verdict, whatever ran is retried too, but not forever."""
        if worker not in self._workers:
            return
        running = [worker.hand[at] for at in worker.running if at in worker.hand]
        left = worker.kill()
        self._workers.discard(worker)
        self._busy.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if running and running[0] in left and verdict is not None:
            call = running[0][0]
            call.charge(max(0.0, time.monotonic() - worker.started_at))
            if len(running) > 1 and reason != "gave_up":
                call.chunk = 1
            else:
                left = [slot for slot in left if slot not in running]
                for of_call, position in running:
                    of_call.settle(position, verdict)
            log_verdict(worker.pid, running, verdict)
        if reason == "crashed" and (not running or verdict is None):
            log.warning("worker %d died with %d samples in hand", worker.pid, len(left))
            blamed = running or left[:1]
            left = [slot for slot in left if slot not in blamed or slot[0].outlived(slot[1])]
        self._requeue(left)
        if reason:
            self.restarts[reason] += 1
        self._short.set()

    def _leave(self, call: Call) -> None:
        """Begin no further sample of the call. Running ones may finish."""
        call.end(NEVER_BEGUN)
        for worker in list(self._busy):
            if any(slot[0] is call for slot in worker.hand.values()):
                self._requeue(worker.recall())
                self._rest(worker)
        self._pump()

    def _give_up(self, call: Call) -> None:
        self._leave(call)
        loop = asyncio.get_running_loop()
        call.timer = loop.call_later(GIVE_UP_GRACE_S, self._abandon, call)

    def _abandon(self, call: Call) -> None:
        for worker in list(self._busy):
            running = worker.running
            if running and worker.hand[running[0]][0] is call:
                self._end(worker, "gave_up", gave_up(worker.started_at, call.begun_at_s))
        call.settle_all(NEVER_BEGUN)
        self._pump()

    def _check(self, worker: Worker) -> None:
        """Kill a worker that is late, or take back the samples behind a slow one, or check later.
        One timer per worker reads the board, so samples need none."""
        if worker.pid == 0:
            self._check_start(worker)
        elif worker.hand:
            seen = worker.look(self._deadline_s)
            if seen.end:
                self._end(worker, seen.end, seen.verdict)
            else:
                worker.check_in(seen.again_s)
            if worker.stalled:
                self._requeue(worker.recall())
            self._pump()

    def _check_start(self, worker: Worker) -> None:
        """Handle a worker that is not up: the fork server is still building, or is stuck."""
        if self._server.up:
            log.error("no worker started in %g s; restarting the fork server", HELLO_TIMEOUT_S)
            self._end(worker, "stuck")
            self._lose_all()
        else:
            worker.check_in(HELLO_TIMEOUT_S)

    async def _keep_full(self) -> None:
        """Start workers whenever there are too few, and the fork server if it has died."""
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
                    self._queue.clear()
                    for call in self._calls:
                        call.settle_all(NO_WORKERS)
                await asyncio.sleep(FIRST_BACKOFF_S * 2 ** min(self._failures, MOST_DOUBLINGS))
            await self._short.wait()

    async def _fill(self) -> None:
        if await self._server.ensure():
            self.restarts["fork_server"] += 1
        while len(self._workers) < self._size + self._spares:
            worker = Worker(self._server, self._on_scored, self._on_lost, self._check)
            self._workers.add(worker)
            worker.check_in(HELLO_TIMEOUT_S)
