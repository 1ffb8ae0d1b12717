"""The same app on Ray Serve: one deployment a scorer, scaled by its queue; the wire is unchanged.

`reward-server serve --cluster` starts it here, `serve run` with `app` and a
RayService on a cluster that runs. The ingress is the app itself, except that its workers and models
are reached through Serve's handles; each replica of a scorer has workers, or a model's thread, of
its own. A replica that dies costs its callers one more try elsewhere, never a sample.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import ray  # pyright: ignore[reportMissingImports]
from fastapi import FastAPI
from ray import serve  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayActorError  # pyright: ignore[reportMissingImports]
from ray.serve.handle import DeploymentHandle  # pyright: ignore[reportMissingImports]

from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.models.batcher import Batcher
from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.models.thread import BatchStats
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.ray.session import connect
from touchstone_rewards.reward_server.schemas import Priority, Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec
from touchstone_rewards.reward_server.scoring.engine import worker_pool, worker_specs
from touchstone_rewards.reward_server.scoring.model_host import BatcherMaker, ModelHost, batcher
from touchstone_rewards.reward_server.settings import Settings

NAME = "touchstone"
# Samples of one call of a handle: enough to pay for the call, few enough to spread over replicas.
CALL_SAMPLES = 64
TRIES = 3
_LOST = sample_error(
    "worker_lost", f"{TRIES} replicas in a row ended while they had this sample", retryable=True
)


class Workers:
    """A replica of a worker scorer: a pool of killable processes."""

    async def __init__(self, specs: Mapping[str, ScorerSpec], settings: dict[str, Any]) -> None:
        self.pool = worker_pool(specs, Settings(**settings))
        await self.pool.start()

    async def score(
        self,
        scorer: str,
        samples: Sequence[Sample],
        explain: bool,
        left_s: float | None,
        after_s: float,
        deadline_s: float | None = None,
    ) -> list[Score]:
        options = {"give_up_at": _at(left_s), "after_s": after_s, "deadline_s": deadline_s}
        return await self.pool.score(scorer, samples, explain=explain, **options)

    async def check_health(self) -> None:
        if self.pool.alive == 0:
            raise RuntimeError("no worker is alive")


class ModelReplica:
    """A replica of a model: its thread and its queue."""

    async def __init__(self, config: ModelConfig) -> None:
        self.batcher = batcher(config)
        await self.batcher.start()

    async def run(
        self, inputs: Sequence[Any], left_s: float | None, priority: Priority
    ) -> list[Any]:
        return await self.batcher.run(inputs, give_up_at=_at(left_s), priority=priority)

    async def check_health(self) -> None:
        if self.batcher.not_ready_reason is not None:
            raise RuntimeError(self.batcher.not_ready_reason)


class Ingress:
    """A replica of the app. Serve calls `__serve_build_asgi_app__` once it is made."""

    def __init__(
        self,
        settings: dict[str, Any],
        workers: Mapping[str, DeploymentHandle],
        models: Mapping[str, DeploymentHandle],
    ) -> None:
        self.settings, self.workers, self.models = settings, workers, models

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(
            Settings(**self.settings),
            make_pool=lambda specs, _: cast(WorkerPool, RemotePool(specs, self.workers)),
            make_batcher=remote_batchers(self.models),
        )


class RemotePool:
    """A `WorkerPool` whose workers stand behind handles, by the name of their scorer."""

    def __init__(
        self, specs: Mapping[str, ScorerSpec], handles: Mapping[str, DeploymentHandle]
    ) -> None:
        self.handles = {key: handles[spec.name] for key, spec in specs.items()}
        self.restarts: Counter[str] = Counter()
        self.alive = 0
        self.pending = 0

    async def start(self) -> None:
        self.alive = len(self.handles) or 1  # Serve had every replica ready before this one

    async def stop(self) -> None:
        self.alive = 0

    async def add(self, scorers: Mapping[str, ScorerSpec], gone: Iterable[str] = ()) -> None:
        """Nothing, for what was deployed: which scorers have replicas is settled then.

        Raises:
            ConfigError: there is one without.
        """
        if missing := [key for key in scorers if key not in self.handles]:
            raise _not_deployed(f"scorer {', '.join(missing)}")

    async def score(
        self,
        scorer: str,
        samples: Sequence[Sample],
        *,
        explain: bool = False,
        give_up_at: float | None = None,
        on_score: Callable[[int, Score], None] | None = None,
        after_s: float = 0.0,
        deadline_s: float | None = None,
    ) -> list[Score]:
        """One score a sample, in their order."""
        score = self.handles[scorer].score
        parts = [samples[i : i + CALL_SAMPLES] for i in range(0, len(samples), CALL_SAMPLES)]

        async def part_scores(part: Sequence[Sample]) -> list[Score]:
            found = await _called(
                lambda: score.remote(scorer, part, explain, _left(give_up_at), after_s, deadline_s)
            )
            return [Score(error=_LOST)] * len(part) if found is None else found

        self.pending += len(samples)
        try:
            found = await asyncio.gather(*map(part_scores, parts))
        finally:
            self.pending -= len(samples)
        scores = [one for part in found for one in part]
        for place, one in enumerate(scores if on_score else ()):
            assert on_score is not None
            on_score(place, one)
        return scores


class RemoteBatcher:
    """A `Batcher` whose model stands behind a handle."""

    exchangeable = False

    def __init__(self, handle: DeploymentHandle) -> None:
        self.handle = handle
        self.stats = BatchStats()
        self.pending = 0
        self.model = None
        self.not_ready_reason: str | None = None

    async def start(self) -> None:
        """Nothing: Serve had a replica ready before this one."""

    async def stop(self) -> None:
        """Nothing: the replica is Serve's."""

    async def run(
        self, inputs: Sequence[Any], *, give_up_at: float | None, priority: Priority
    ) -> list[Any]:
        """One answer an input, in their order."""
        self.pending += len(inputs)
        try:
            found: list[Any | SampleError] | None = await _called(
                lambda: self.handle.run.remote(list(inputs), _left(give_up_at), priority)
            )
        finally:
            self.pending -= len(inputs)
        return [_LOST] * len(inputs) if found is None else found


def remote_batchers(handles: Mapping[str, DeploymentHandle]) -> BatcherMaker:
    """Makes the batcher of a model that was deployed, as long as its config is the deployed one."""
    deployed: dict[str, ModelConfig] = {}

    def make(config: ModelConfig) -> Batcher:
        if config.label not in handles or deployed.setdefault(config.label, config) != config:
            raise _not_deployed(f"model {config.label!r}")
        return cast(Batcher, RemoteBatcher(handles[config.label]))

    return make


def _not_deployed(what: str) -> ConfigError:
    return ConfigError(f"the cluster has no replica of {what} with this config; deploy it again")


async def _called(call: Callable[[], Any]) -> Any:
    """What a call of a handle comes to; tried again where its replica died, None after `TRIES`."""
    for attempt in range(TRIES):
        try:
            return await call()
        except RayActorError:
            await asyncio.sleep(0.1 * 2**attempt)
    return None


def _left(give_up_at: float | None) -> float | None:
    """Seconds to a deadline: the clocks of two processes need not agree."""
    return None if give_up_at is None else give_up_at - asyncio.get_running_loop().time()


def _at(left_s: float | None) -> float | None:
    return None if left_s is None else asyncio.get_running_loop().time() + left_s


def build(settings: Settings) -> Any:
    """The Serve application that `settings` describe.

    Raises:
        ConfigError: a profile that cannot be loaded.
    """
    profiles = load_profiles(settings.profile_dirs)
    content = settings.model_dump()
    by_name: dict[str, dict[str, ScorerSpec]] = {}
    for key, spec in worker_specs(profiles).items():
        by_name.setdefault(spec.name, {})[key] = spec
    workers = {
        name: _deployment(Workers, f"scorer:{name}", settings, cpus=settings.workers).bind(
            specs, content
        )
        for name, specs in by_name.items()
    }
    models = {
        label: _deployment(
            ModelReplica, f"model:{label}", settings, cpus=1, gpus=_gpus(config, settings)
        ).bind(config)
        for label, config in ModelHost(profiles, settings.other_models).configs.items()
    }
    ingress = _deployment(serve.ingress()(Ingress), "app", settings, cpus=0)
    return ingress.bind(content, workers, models)


def _deployment(
    kind: type, name: str, settings: Settings, *, cpus: float, gpus: float = 0.0
) -> Any:
    deployment: Any = serve.deployment(kind)
    return deployment.options(
        name=name,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        autoscaling_config={
            "min_replicas": settings.cluster_min_replicas,
            "max_replicas": settings.cluster_max_replicas,
            "target_ongoing_requests": settings.cluster_target_requests,
        },
        # The bound of what waits is the engine's, which answers 429; Serve would answer 503.
        max_ongoing_requests=max(1000, settings.max_pending_samples),
        health_check_period_s=2,
    )


def _gpus(config: ModelConfig, settings: Settings) -> float:
    return settings.cluster_gpu_share if config.device in ("auto", "cuda") else 0.0


def app(arguments: dict[str, Any]) -> Any:
    """For `serve run MODULE:app [setting=value …]` and for a RayService's `args`."""
    return build(Settings(**arguments))


def run(settings: Settings) -> int:
    """Deploy, and serve until SIGTERM or Ctrl-C: on the cluster of `RAY_ADDRESS`, or on one of this
    machine's own."""
    connect()
    serve.start(http_options={"host": settings.host, "port": settings.port})
    serve.run(build(settings), name=NAME, route_prefix="/")
    over = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):  # after Ray has set its own
        signal.signal(each, lambda *_: over.set())
    over.wait()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    serve.shutdown()
    ray.shutdown()
    return 0
