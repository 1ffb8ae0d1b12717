"""Score stored samples: an engine for files, and a stream of samples through it in order.

Only a few batches are held at a time, so memory stays constant however much is scored.
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
    """The totals of a run. `rejected`: the number of invalid rows."""

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
    """Return the engine, started and ready for a long run.

    Raises:
        ConfigError: as `Engine.start` says.
    """
    await engine.start()
    # Imported and loaded objects live as long as the run, so the collector can skip them.
    gc.collect()
    gc.freeze()
    return engine


def known_profile(settings: Settings, name: str) -> tuple[dict[str, Profile], Profile]:
    """Return all profiles of the settings, and the one of this name.

    Raises:
        ConfigError: there is no such profile.
    """
    profiles = load_profiles(settings.profile_dirs, plugins=settings.plugins)
    if name not in profiles:
        raise ConfigError(f"profile {name!r} is not known; known: {', '.join(profiles)}")
    return profiles, profiles[name]


def offline_engine(settings: Settings, profile: str) -> Engine:
    """Return an engine for files: with the workers and profiles of the settings, but no deadline.

    Raises:
        ConfigError: there is no such profile.
    """
    profiles, _ = known_profile(settings, profile)
    # No caller is waiting: each sample has its limits, the file as a whole has none.
    unlimited = {
        "request_deadline_s": math.inf,
        "max_samples": sys.maxsize,
        "max_pending_samples": sys.maxsize,
    }
    return create_engine(profiles, settings.model_copy(update=unlimited), Metrics())


def batches(samples: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield batches of the stream; samples before an invalid line are yielded before its error."""
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
    """Yield batches of `size` samples or a little more, without splitting a run of one group.

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
    """Yield the stream in requests; with `groups`, keep consecutive lines of a group together."""
    if not groups:
        return batches(samples, BATCH_SAMPLES)
    return whole_groups(samples, BATCH_SAMPLES, lambda sample: sample.group_id)


async def score_stream(
    engine: Engine, requests: Iterator[ScoreRequest]
) -> AsyncIterator[list[SampleResult]]:
    """Score a few requests at a time, so that a slow sample leaves no worker idle; yield in order.

    The groups in a request are complete."""
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
    """Return the results as JSON lines."""
    return b"".join(msgspec.json.encode(result) + b"\n" for result in results)
