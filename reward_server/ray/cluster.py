"""Run the app on Ray Serve: one deployment per scorer, scaled by queue depth; same wire.

`reward-server serve --cluster` uses `run`; `serve run` and a RayService use `app` on a running
cluster. The ingress is the app itself, except that it reaches workers and models through Serve's
handles; each replica of a scorer has its own workers or model thread. When a replica dies, its
calls are retried on another one and no sample is lost. A call that finds no free replica is given
up at its deadline.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, cast

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.pool.pools import WorkerPools, worker_pools
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.ray.handles import (
    Deadline,
    RemotePool,
    RunningReplicas,
    model_deployment,
    remote_batchers,
    scorer_deployment,
)
from touchstone_rewards.reward_server.ray.placement import workers_each
from touchstone_rewards.reward_server.ray.session import connect
from touchstone_rewards.reward_server.schemas import Priority, Sample
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec
from touchstone_rewards.reward_server.scoring.claim import belong_to
from touchstone_rewards.reward_server.scoring.model_host import ModelHost, batcher
from touchstone_rewards.reward_server.scoring.worker_specs import worker_specs
from touchstone_rewards.reward_server.settings import Settings

NAME = "touchstone"

logger = logging.getLogger(__name__)


class Workers:
    """A replica of a worker scorer: a pool of killable processes."""

    async def __init__(self, specs: Mapping[str, ScorerSpec], settings: dict[str, Any]) -> None:
        self.pool = worker_pools(specs, Settings(**settings))
        await self.pool.start()

    async def score(
        self,
        scorer: str,
        samples: Sequence[Sample],
        explain: bool,
        deadline: Deadline,
        after_s: float,
        deadline_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> list[Score]:
        return await self.pool.of(scorer).score(
            scorer,
            samples,
            explain=explain,
            give_up_at_s=deadline.here(),
            after_s=after_s,
            deadline_s=deadline_s,
            memory_bytes=memory_bytes,
        )

    async def check_health(self) -> None:
        if self.pool.alive == 0:
            raise RuntimeError("no worker is alive")


class ModelReplica:
    """A replica of a model: its thread and its queue."""

    async def __init__(self, config: ModelConfig) -> None:
        self.batcher = batcher(config)
        await self.batcher.start()

    async def run(self, inputs: Sequence[Any], deadline: Deadline, priority: Priority) -> list[Any]:
        return await self.batcher.run(inputs, give_up_at_s=deadline.here(), priority=priority)

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
        # All replicas of this deployment write the same files: together they are one server.
        belong_to(f"{NAME} on the cluster {ray.get_runtime_context().gcs_address}")
        app_name = serve.get_replica_context().app_name
        running = RunningReplicas(lambda: _replicas_of(app_name))
        return create_app(
            Settings(**self.settings),
            make_pool=lambda specs, _: cast(WorkerPools, RemotePool(specs, self.workers, running)),
            make_batcher=remote_batchers(self.models, running),
        )


def _replicas_of(app_name: str) -> dict[str, int]:
    """Return the number of running replicas by deployment."""
    deployments = serve.status().applications[app_name].deployments
    return {
        name: sum(n for state, n in about.replica_states.items() if "RUNNING" in str(state).upper())
        for name, about in deployments.items()
    }


def build(settings: Settings) -> Any:
    """Return the Serve application that `settings` describe.

    Raises:
        ConfigError: a profile cannot be loaded.
    """
    profiles = load_profiles(settings.profile_dirs, plugins=settings.plugins)
    by_name: dict[str, dict[str, ScorerSpec]] = {}
    for key, spec in worker_specs(profiles).items():
        by_name.setdefault(spec.name, {})[key] = spec
    configs = ModelHost(profiles, settings.other_models).configs
    count = _workers_each(settings, scorers=len(by_name), models=len(configs))
    content = settings.model_dump() | {"workers": count}
    workers = {
        name: _deployment(Workers, scorer_deployment(name), settings, cpus=count).bind(
            specs, content
        )
        for name, specs in by_name.items()
    }
    models = {
        label: _deployment(
            ModelReplica,
            model_deployment(label),
            settings,
            cpus=1,
            gpus=_gpus(config, settings),
        ).bind(config)
        for label, config in configs.items()
    }
    ingress = _deployment(serve.ingress()(Ingress), "app", settings, cpus=0)
    return ingress.bind(content, workers, models)


def _workers_each(settings: Settings, *, scorers: int, models: int) -> int:
    """Return the number of workers per replica, given the current CPUs.

    If they do not fit, replicas on a cluster of `RAY_ADDRESS` wait for it to grow; a local cluster
    cannot grow.

    Raises:
        ConfigError: they do not fit on this machine.
    """
    chosen = "workers" in settings.model_fields_set
    if not ray.is_initialized():
        return settings.workers if chosen else 1
    resources = ray.cluster_resources()
    try:
        return workers_each(
            int(resources.get("CPU", 0)),
            scorers=scorers,
            models=models,
            replicas=settings.cluster_min_replicas,
            workers=settings.workers,
            chosen=chosen,
        )
    except ConfigError as error:
        if not os.environ.get("RAY_ADDRESS"):
            raise
        logger.warning("%s; replicas wait until the cluster has grown", error)
        return settings.workers if chosen else 1


def _deployment(
    kind: type, name: str, settings: Settings, *, cpus: float, gpus: float = 0.0
) -> Any:
    return serve.deployment(kind).options(
        name=name,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        autoscaling_config={
            "min_replicas": settings.cluster_min_replicas,
            "max_replicas": settings.cluster_max_replicas,
            "target_ongoing_requests": settings.cluster_target_requests,
        },
        # The engine limits the queue and answers 429; Serve's own limit would answer 503.
        max_ongoing_requests=max(1000, settings.max_pending_samples),
        health_check_period_s=2,
    )


def _gpus(config: ModelConfig, settings: Settings) -> float:
    return settings.cluster_gpu_share if config.device in ("auto", "cuda") else 0.0


def app(arguments: dict[str, Any]) -> Any:
    """Return the application for `serve run MODULE:app [setting=value …]` and RayService `args`."""
    return build(Settings(**arguments))


def run(settings: Settings) -> int:
    """Deploy and serve until SIGTERM or Ctrl-C, on the cluster of `RAY_ADDRESS` or a local one."""
    connect()
    serve.start(http_options={"host": settings.host, "port": settings.port})
    serve.run(build(settings), name=NAME, route_prefix="/")
    over = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        over.set()

    for each in (signal.SIGTERM, signal.SIGINT):  # after Ray has set its own handlers
        signal.signal(each, end)
    over.wait()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    serve.shutdown()
    ray.shutdown()
    return 0
