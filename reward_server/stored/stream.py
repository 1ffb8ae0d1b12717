"""Scoring what is stored: an engine for files, and a stream of samples through it in order.

In: samples or requests from wherever they were read. Out: their results in order, and the tally.
One batch after the other is held, so memory stays as it is however much is scored.
"""

from __future__ import annotations

import asyncio
import gc
import math
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TypeVar

import msgspec

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import Profile, load_profiles
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

T = TypeVar("T")

BATCH_SAMPLES = 1024
IN_FLIGHT_BATCHES = 4


class Tally(msgspec.Struct):
    """What a run came to. `rejected`: rows that are no samples."""

    scored: int = 0
    failed: int = 0
    rejected: int = 0
    total_reward: float = 0.0

    def add(self, results: Iterable[SampleResult]) -> None:
        for result in results:
            if result.reward is None:
                self.failed += 1
            else:
                self.scored += 1
                self.total_reward += result.reward

    def __add__(self, other: Tally) -> Tally:
        names = Tally.__struct_fields__
        return Tally(*(getattr(self, name) + getattr(other, name) for name in names))

    def line(self, output: object) -> str:
        mean = f"{self.total_reward / self.scored:.4f}" if self.scored else "none"
        rejected = f", {self.rejected} rejected" if self.rejected else ""
        return (
            f"{self.scored} scored, {self.failed} failed{rejected}, mean reward {mean} -> {output}"
        )


async def started(engine: Engine) -> Engine:
    """The engine, ready for a long run.

    Raises:
        ConfigError: as `Engine.start` says.
    """
    await engine.start()
    # What was imported and loaded lives as long as the run: the collector need not look.
    gc.collect()
    gc.freeze()
    return engine


def known_profile(settings: Settings, name: str) -> tuple[dict[str, Profile], Profile]:
    """All profiles of the settings, and that of this name.

    Raises:
        ConfigError: there is no such profile.
    """
    profiles = load_profiles(settings.profile_dirs, plugins=settings.plugins)
    if name not in profiles:
        raise ConfigError(f"profile {name!r} is not known; known: {', '.join(profiles)}")
    return profiles, profiles[name]


def offline_engine(settings: Settings, profile: str) -> Engine:
    """An engine for files: with the workers and profiles of the settings, without a deadline.

    Raises:
        ConfigError: there is no such profile.
    """
    profiles, _ = known_profile(settings, profile)
    # No one waits at the other end: a sample has its limits, the file has none.
    unlimited = {
        "request_deadline_s": math.inf,
        "max_samples": sys.maxsize,
        "max_pending_samples": sys.maxsize,
    }
    return create_engine(profiles, settings.model_copy(update=unlimited), Metrics())


def batches(samples: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut the stream; what stands before a bad line comes out before the error does."""
    batch: list[T] = []
    try:
        for sample in samples:
            batch.append(sample)
            if len(batch) == size:
                yield batch
                batch = []
    except ConfigError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def whole_groups(
    items: Iterable[T], size: int, group_of: Callable[[T], str | None]
) -> Iterator[list[T]]:
    """Cut the stream into batches of `size` or a little more: no run of one group is cut.

    Example:
        >>> list(whole_groups(["a1", "a2", "b1"], 1, lambda item: item[0]))
        [['a1', 'a2'], ['b1']]
    """
    batch: list[T] = []
    try:
        for item in items:
            group = group_of(item)
            if len(batch) >= size and (group is None or group != group_of(batch[-1])):
                yield batch
                batch = []
            batch.append(item)
    except ConfigError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def request_batches(samples: Iterable[Sample], *, groups: bool) -> Iterator[list[Sample]]:
    """Cut the stream into requests; with `groups`, the lines of one, one after another, in one."""
    if not groups:
        return batches(samples, BATCH_SAMPLES)
    return whole_groups(samples, BATCH_SAMPLES, lambda sample: sample.group_id)


async def score_stream(
    engine: Engine, requests: Iterator[ScoreRequest]
) -> AsyncIterator[list[SampleResult]]:
    """Score requests a few at a time, so that one slow sample idles no worker; answer in order.

    The groups in a request are whole."""
    in_flight: deque[asyncio.Task[ScoreResponse]] = deque()
    exhausted: Exception | None = None
    while True:
        while exhausted is None and len(in_flight) < IN_FLIGHT_BATCHES:
            try:
                in_flight.append(asyncio.create_task(engine.score(next(requests), gather=False)))
            except (StopIteration, ConfigError) as end:
                exhausted = end
        if not in_flight:
            break
        yield (await in_flight.popleft()).results
    if isinstance(exhausted, ConfigError):
        raise exhausted


def json_lines(results: Iterable[SampleResult]) -> bytes:
    """One line a result."""
    return b"".join(msgspec.json.encode(result) + b"\n" for result in results)
