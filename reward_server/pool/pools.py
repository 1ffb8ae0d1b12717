"""The worker pool that scorers share, and the pools reserved for single scorers.

It has the interface of a `WorkerPool` and uses the pool of each scorer. Slow samples in one pool
hold up no other pool.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from touchstone_rewards.reward_server.pool.calls import Timing
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.scorers.base import ScorerSpec
from touchstone_rewards.reward_server.settings import Settings

# A pool that no profile needs any more is stopped after this much idle time.
IDLE_S = 5.0


class WorkerPools:
    """One pool for all scorers whose spec says `workers=0`, and one for each of the others.

    `make` creates a pool with a number of workers, not yet started; 0 means the server's number.
    """

    def __init__(
        self,
        scorers: Mapping[str, ScorerSpec],
        make: Callable[[Mapping[str, ScorerSpec], int], WorkerPool],
    ) -> None:
        self._make = make
        self._shared = make(_shared(scorers), 0)
        self._own = {key: make({key: spec}, spec.workers) for key, spec in _own(scorers).items()}
        # The pools that no profile needs any more; each is stopped when it is idle.
        self._ending: dict[str, asyncio.Task[None]] = {}

    @property
    def alive(self) -> int:
        """The number of workers that are up, without spares; 0 if any pool has none."""
        alive = [pool.alive for pool in self._all()]
        return sum(alive) if all(alive) else 0

    @property
    def pending(self) -> int:
        """The number of samples without a verdict, queued or running."""
        return sum(pool.pending for pool in self._all())

    @property
    def restarts(self) -> Mapping[str, int]:
        """Processes replaced, by reason."""
        return sum((pool.restarts for pool in self._all()), Counter[str]())

    def timing(self, scorer: str) -> Timing:
        """Return how fast a scorer was in the workers, by its key."""
        return self.of(scorer).timing(scorer)

    async def start(self) -> None:
        """Start all workers and wait until their scorers are built.

        Raises:
            ConfigError: a scorer cannot be built, or no worker comes up.
        """
        await self._start(self._all())

    async def stop(self) -> None:
        """Kill all workers; pending samples get `worker_lost`. Stopped pools can start again."""
        for task in self._ending.values():
            task.cancel()
        self._ending.clear()
        for pool in self._all():
            await pool.stop()

    async def add(self, scorers: Mapping[str, ScorerSpec], gone: Iterable[str] = ()) -> None:
        """Add scorers; those `gone` are not built again.

        Raises:
            ConfigError: one of them cannot be built; then nothing has changed.
        """
        gone = set(gone)
        new = {
            key: self._make({key: spec}, spec.workers)
            for key, spec in _own(scorers).items()
            if key not in self._own
        }
        await self._start(list(new.values()))
        try:
            await self._shared.add(_shared(scorers), gone - self._own.keys())
        except BaseException:
            for pool in new.values():
                await pool.stop()
            raise
        self._own |= new
        for key in scorers.keys() & self._ending.keys():
            self._ending.pop(key).cancel()
        for key in gone & self._own.keys() - self._ending.keys():
            self._ending[key] = asyncio.create_task(self._end_when_idle(key))

    def of(self, scorer: str) -> WorkerPool:
        """Return the pool that serves a scorer, by its key."""
        return self._own.get(scorer, self._shared)

    def _all(self) -> list[WorkerPool]:
        return [self._shared, *self._own.values()]

    async def _start(self, pools: Sequence[WorkerPool]) -> None:
        """Start all pools, or none of them."""
        started = await asyncio.gather(*(pool.start() for pool in pools), return_exceptions=True)
        for failure in started:
            if failure is not None:
                for pool in pools:
                    await pool.stop()
                raise failure

    async def _end_when_idle(self, key: str) -> None:
        # Calls of a replaced profile may still be running here.
        busy = True
        while busy:
            busy = bool(self._own[key].pending)
            await asyncio.sleep(IDLE_S)
            busy = busy or bool(self._own[key].pending)
        pool = self._own.pop(key)
        del self._ending[key]
        await pool.stop()


def worker_pools(specs: Mapping[str, ScorerSpec], settings: Settings) -> WorkerPools:
    """Return the pools that `settings` describe, not yet started."""
    settings.plugins.make_importable()

    def make(scorers: Mapping[str, ScorerSpec], workers: int) -> WorkerPool:
        return WorkerPool(
            scorers,
            workers=workers or settings.workers,
            sample_deadline_s=settings.sample_deadline_s,
            memory_limit_bytes=settings.worker_memory_bytes,
            recycle_after=settings.worker_max_samples,
        )

    return WorkerPools(specs, make)


def _shared(scorers: Mapping[str, ScorerSpec]) -> dict[str, ScorerSpec]:
    return {key: spec for key, spec in scorers.items() if not spec.workers}


def _own(scorers: Mapping[str, ScorerSpec]) -> dict[str, ScorerSpec]:
    return {key: spec for key, spec in scorers.items() if spec.workers}
