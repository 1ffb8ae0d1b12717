"""Attach background work to an engine: hacking watch, score log, shadows and reload.

None of it changes an answer or delays one. `running` starts and stops the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.remote.keys import read_key
from touchstone_rewards.reward_server.scoring.engine import Engine, by_profile
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.watching.hacking import Watch, WatchCollector
from touchstone_rewards.reward_server.watching.run_watch import RunWatch
from touchstone_rewards.reward_server.watching.score_log import ScoreLog
from touchstone_rewards.reward_server.watching.shadow import Shadows
from touchstone_rewards.reward_server.watching.webhook import Webhook


class Background(NamedTuple):
    """Background work of one engine; `log` is None unless the settings name a file."""

    watch: Watch
    runs: RunWatch
    shadows: Shadows
    reloader: Reloader
    log: ScoreLog | None
    webhook: Webhook | None


def attach(engine: Engine, settings: Settings, metrics: Metrics) -> Background:
    """Register the observers with the engine and the metrics.

    Raises:
        ConfigError: the score log cannot be written, or the webhook's key is missing.
    """
    watch = create_watch(engine, metrics)
    runs = RunWatch(engine.profiles)
    engine.observers.append(runs.take)
    metrics.watch(runs.readings())
    webhook = _webhook(settings, runs, metrics)
    shadows = Shadows(
        engine.profiles,
        partial(engine.score, observed=False),
        lambda: engine.pending_samples == 0,
        watch.disagreement,
        runs.shadowed,
    )
    engine.observers.append(shadows.take)
    metrics.watch(shadows.readings())
    reloader = Reloader(engine, settings.profile_dirs, settings.plugins)
    metrics.watch(reloader.readings())
    if settings.score_log is None:
        return Background(watch, runs, shadows, reloader, None, webhook)
    log = ScoreLog(settings.score_log, settings.score_log_bytes, settings.score_log_files)
    engine.observers.append(log.take)
    metrics.watch(log.readings())
    return Background(watch, runs, shadows, reloader, log, webhook)


def _webhook(settings: Settings, runs: RunWatch, metrics: Metrics) -> Webhook | None:
    if settings.alarm_webhook is None:
        return None
    try:
        key = read_key(settings.alarm_webhook_key_env, None)
    except ValueError as error:
        raise ConfigError(f"alarm_webhook: {error}") from None
    webhook = Webhook(settings.alarm_webhook, key)
    runs.listeners.append(webhook.take)
    metrics.watch(webhook.readings())
    return webhook


def create_watch(engine: Engine, metrics: Metrics) -> Watch:
    """Create a watch over all scored samples, shown in the metrics."""

    def compared(name: str) -> tuple[str, str] | None:
        profile = engine.profiles.get(name)
        return profile.config.watch.compare if profile and profile.config.watch else None

    watch = Watch(compared)
    engine.observers.append(by_profile(watch.observe))
    metrics.registry.register(WatchCollector(watch))
    return watch


@asynccontextmanager
async def running(background: Background, reload_s: float = 0.0) -> AsyncGenerator[None]:
    """Run the background work inside the block; on exit, write the rest of the score log.

    `reload_s`: seconds between checks for changed profiles, 0 to disable them.
    """
    tasks = [asyncio.create_task(each.run()) for each in (background.shadows, background.runs)]
    if background.webhook is not None:
        tasks.append(asyncio.create_task(background.webhook.run()))
    if reload_s:
        tasks.append(asyncio.create_task(background.reloader.watch(reload_s)))
    if background.log is not None:
        background.log.start()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if background.log is not None:
            await asyncio.to_thread(background.log.close)
