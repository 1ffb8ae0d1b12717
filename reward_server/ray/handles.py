"""The app's side of the Serve handles: workers and models that run in replicas.

Each sample or input is answered by any replica with room, at the latest by its deadline. A call
that is no longer needed is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.models.batcher import Batcher
from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.models.thread import BatchStats
from touchstone_rewards.reward_server.remote.together import together
from touchstone_rewards.reward_server.schemas import Priority, Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec
from touchstone_rewards.reward_server.scoring.model_host import BatcherMaker

# Samples per handle call: enough to pay for the call, few enough to spread over replicas.
CALL_SAMPLES = 64
TRIES = 3
# A replica answers by its deadline with partial results; this is the extra time to wait for them.
GRACE_S = 0.25
STATUS_EVERY_S = 2.0
# The same while a deployment has no replica, as when all of them start.
STATUS_SOON_S = 0.2

logger = logging.getLogger(__name__)

_LATE = sample_error(
    "deadline_exceeded", "the request's deadline passed before a replica's answer", retryable=True
)
_LOST = sample_error(
    "worker_lost", f"{TRIES} replicas in a row ended while they had this sample", retryable=True
)


class TooLate(Exception):
    """No replica answered before the deadline."""


class Deadline(NamedTuple):
    """The seconds left at the wall-clock time when a call was sent; None for no deadline.

    The receiver subtracts the time that the call waited for a replica. It ignores a waiting time
    longer than the deadline, because then the clocks of the two nodes differ.
    """

    left_s: float | None
    sent_at: float

    def here(self) -> float | None:
        """Return the end of the deadline in this event loop's time."""
        if self.left_s is None:
            return None
        waited_s = time.time() - self.sent_at
        left_s = self.left_s - waited_s if 0 <= waited_s < self.left_s else self.left_s
        return asyncio.get_running_loop().time() + left_s


class RunningReplicas:
    """The number of running replicas of each deployment, polled from Serve."""

    def __init__(self, ask: Callable[[], Mapping[str, int]]) -> None:
        self.counts: Mapping[str, int] = {}
        self._ask = ask

    async def watch(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                self.counts = await asyncio.to_thread(self._ask)
            except Exception as error:  # noqa: BLE001  Serve may be available again soon
                logger.warning("Ray Serve does not report the running replicas: %s", error)
            await asyncio.sleep(STATUS_EVERY_S if all(self.counts.values()) else STATUS_SOON_S)

    def none_of(self, deployment: str) -> bool:
        """Return whether this deployment is known to have no running replica."""
        return self.counts.get(deployment) == 0


class RemotePool:
    """A `WorkerPool` whose workers are behind handles, by the name of their scorer."""

    def __init__(
        self,
        specs: Mapping[str, ScorerSpec],
        handles: Mapping[str, DeploymentHandle],
        running: RunningReplicas | None = None,
    ) -> None:
        self.handles = {key: handles[spec.name] for key, spec in specs.items()}
        self.restarts: Counter[str] = Counter()
        self.pending = 0
        self._names = {scorer_deployment(spec.name) for spec in specs.values()}
        self._running = running or RunningReplicas(dict)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def alive(self) -> int:
        """The number of scorers with replicas; 0 (not ready) if any scorer has none."""
        if self._watcher is None or any(map(self._running.none_of, self._names)):
            return 0
        return len(self._names) or 1

    async def start(self) -> None:
        self._watcher = asyncio.create_task(self._running.watch())

    async def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        self._watcher = None

    async def add(self, scorers: Mapping[str, ScorerSpec], gone: Iterable[str] = ()) -> None:
        """Check that the scorers were deployed; no others can be added.

        Raises:
            ConfigError: a scorer was not deployed.
        """
        if missing := [key for key in scorers if key not in self.handles]:
            raise _not_deployed(f"scorer {', '.join(missing)}")

    def of(self, _: str) -> RemotePool:
        """Return the pool that serves a scorer: this one."""
        return self

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
        """Return one score per sample, in order."""
        own = after_s, deadline_s, memory_bytes
        score = self.handles[scorer].score
        parts = [samples[i : i + CALL_SAMPLES] for i in range(0, len(samples), CALL_SAMPLES)]

        async def part_scores(part: Sequence[Sample]) -> list[Score]:
            try:
                found = await called(
                    lambda: score.remote(scorer, part, explain, _deadline(give_up_at_s), *own),
                    give_up_at_s,
                )
            except TooLate:
                return [Score(error=_LATE)] * len(part)
            return [Score(error=_LOST)] * len(part) if found is None else found

        self.pending += len(samples)
        try:
            found = await together([part_scores(part) for part in parts])
        finally:
            self.pending -= len(samples)
        scores = [one for part in found for one in part]
        for place, one in enumerate(scores if on_score else ()):
            assert on_score is not None
            on_score(place, one)
        return scores


class RemoteBatcher:
    """A `Batcher` whose model is behind a handle."""

    exchangeable = False

    def __init__(self, name: str, handle: DeploymentHandle, running: RunningReplicas) -> None:
        self.name = name
        self.handle = handle
        self.stats = BatchStats()
        self.pending = 0
        self.model = None
        self.about: dict[str, Any] = {}
        self._running = running

    @property
    def not_ready_reason(self) -> str | None:
        """Why it cannot answer at the moment, or None."""
        gone = self._running.none_of(model_deployment(self.name))
        return f"no replica of model {self.name} is running; one is starting" if gone else None

    async def start(self) -> None:
        """Do nothing: Serve starts the replicas."""

    async def stop(self) -> None:
        """Do nothing: Serve owns the replica."""

    async def run(
        self, inputs: Sequence[Any], *, give_up_at_s: float | None, priority: Priority
    ) -> list[Any]:
        """Return one answer per input, in order."""
        self.pending += len(inputs)
        try:
            found: list[Any | SampleError] | None = await called(
                lambda: self.handle.run.remote(list(inputs), _deadline(give_up_at_s), priority),
                give_up_at_s,
            )
        except TooLate:
            return [_LATE] * len(inputs)
        finally:
            self.pending -= len(inputs)
        return [_LOST] * len(inputs) if found is None else found


def remote_batchers(
    handles: Mapping[str, DeploymentHandle], running: RunningReplicas | None = None
) -> BatcherMaker:
    """Return a maker of batchers for deployed models; it refuses configs that differ."""
    replicas = running or RunningReplicas(dict)
    deployed: dict[str, ModelConfig] = {}

    def make(config: ModelConfig) -> Batcher:
        if config.label not in handles or deployed.setdefault(config.label, config) != config:
            raise _not_deployed(f"model {config.label!r}")
        return cast(Batcher, RemoteBatcher(config.label, handles[config.label], replicas))

    return make


def _not_deployed(what: str) -> ConfigError:
    return ConfigError(f"the cluster has no replica of {what} with this config; deploy it again")


async def called(call: Callable[[], Any], give_up_at_s: float | None) -> Any:
    """Return the result of a handle call; retry it if its replica died, None after `TRIES` tries.

    A call that times out or is cancelled is also cancelled in Serve.

    Raises:
        TooLate: there is no answer by `give_up_at_s`.
    """
    over = None if give_up_at_s is None else give_up_at_s + GRACE_S
    try:
        async with asyncio.timeout_at(over):
            for attempt in range(TRIES):
                response = call()
                try:
                    return await response
                except RayActorError:
                    await asyncio.sleep(0.1 * 2**attempt)
                except asyncio.CancelledError:
                    response.cancel()
                    raise
    except TimeoutError as error:
        raise TooLate from error
    return None


def _deadline(give_up_at_s: float | None) -> Deadline:
    left_s = None if give_up_at_s is None else give_up_at_s - asyncio.get_running_loop().time()
    return Deadline(left_s, time.time())


def scorer_deployment(name: str) -> str:
    return f"scorer:{name}"


def model_deployment(label: str) -> str:
    return f"model:{label}"
