"""Collect the dashboard's data into one JSON document. Read-only."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.alarms import Alarm
from touchstone_rewards.reward_server.dashboard.live import Failures, Live, Rates
from touchstone_rewards.reward_server.dashboard.recent import Recent, RecentSamples
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import ModelInfo, ShadowInfo
from touchstone_rewards.reward_server.scoring.engine import Engine, by_profile
from touchstone_rewards.reward_server.scoring.upstreams import UpstreamState
from touchstone_rewards.reward_server.telemetry.metrics import (
    WORKER_RESTARTS,
    WORKERS_ALIVE,
    WORKERS_PENDING,
)
from touchstone_rewards.reward_server.watching.hacking import Watch, Watched
from touchstone_rewards.reward_server.watching.run_watch import RunWatch
from touchstone_rewards.reward_server.watching.shadow import Shadows
from touchstone_rewards.reward_server.watching.signals import excerpt

# Up to this many distinct values get a bar each; more are grouped into equal bins.
MAX_VALUES = 12
BINS = 20
MOST_DIFFERING = 5
MOST_ALARMS = 50


class ServerState(Struct):
    """State of the server. `started_at_s`: Unix time; it distinguishes processes on the same
    port.
    """

    version: str
    started_at_s: float
    uptime_s: float
    not_ready_reason: str | None
    pending_samples: int
    workers_alive: int
    workers_pending: int
    worker_restarts: dict[str, int]
    models: list[ModelInfo]
    upstreams: list[UpstreamState]


class ProfileState(Struct):
    """State of one profile.

    `reads`: sample fields that it uses. `groups`: whether it scores whole groups. `watched`: null
    before the first sample. `cascades`: for scorers that run on some samples only, the number of
    samples by outcome.
    """

    name: str
    description: str
    fingerprint: str
    scorers: list[str]
    reads: list[str]
    groups: bool
    watched: Watched | None
    cascades: dict[str, dict[str, int]]


class Bar(Struct):
    """Number of samples from `low` to `high`; both are equal if the bar is a single value."""

    low: float
    high: float
    count: int


class ProfileDetail(Struct):
    """Details of one profile: `reward` and each scorer over time, and histograms of the window."""

    profile: str
    means: dict[str, list[float | None]]
    histograms: dict[str, list[Bar]]


class Differing(Struct):
    """A sample's reward and its reward by the shadow."""

    id: str
    reward: float | None
    shadow_reward: float | None


class ShadowState(Struct):
    """A profile beside its shadow; `last`: the latest disagreements, newest first."""

    profile: str
    info: ShadowInfo
    last: list[Differing]


class Data(Struct):
    """The whole document.

    `alarms`: newest last, without the texts of their samples, which `/alarms` has.
    """

    server: ServerState
    profiles: list[ProfileState]
    rates: Rates
    failures: Failures
    chosen: ProfileDetail | None
    shadows: list[ShadowState]
    alarms: list[Alarm]
    recent: list[Recent]


class Sources:
    """Everything that the dashboard reads."""

    def __init__(
        self,
        engine: Engine,
        watch: Watch,
        runs: RunWatch,
        shadows: Shadows,
        recent_samples: int,
    ) -> None:
        self.engine = engine
        self.watch = watch
        self.runs = runs
        self.shadows = shadows
        self.live = Live()
        self.recent = RecentSamples(recent_samples)
        self.started_at_s = time.time()
        self.started_s = time.monotonic()
        engine.observers.append(by_profile(self.recent.observe))
        engine.metrics.verdict_observers.append(self.live.observe_verdicts)
        engine.metrics.request_observers.append(self.live.observe_requests)


async def gather(sources: Sources, *, profile: str | None, after: int) -> Data:
    """Return the page's data, with details of `profile` and the recent samples after number
    `after`.

    Each window takes some milliseconds, so the event loop is released between profiles.
    """
    sources.engine.metrics.count()
    sources.engine.upstreams.look()
    profiles: list[ProfileState] = []
    for name, one in list(sources.engine.profiles.items()):
        profiles.append(_profile(sources, name, one))
        await asyncio.sleep(0)
    chosen = _chosen(sources, profile) if profile else None
    await asyncio.sleep(0)
    return Data(
        server=_server(sources),
        profiles=profiles,
        rates=sources.live.rates(),
        failures=sources.live.failures(),
        chosen=chosen,
        shadows=[_shadow(sources.shadows, name) for name in sources.shadows.infos],
        alarms=[replace(each, samples=[]) for each in list(sources.runs.alarms)[-MOST_ALARMS:]],
        recent=sources.recent.since(after),
    )


def _server(sources: Sources) -> ServerState:
    engine = sources.engine
    return ServerState(
        version=__version__,
        started_at_s=sources.started_at_s,
        uptime_s=round(time.monotonic() - sources.started_s, 1),
        not_ready_reason=engine.not_ready_reason,
        pending_samples=engine.pending_samples,
        workers_alive=int(engine.metrics.reading(WORKERS_ALIVE)[""]),
        workers_pending=int(engine.metrics.reading(WORKERS_PENDING)[""]),
        worker_restarts={why: int(n) for why, n in engine.metrics.reading(WORKER_RESTARTS).items()},
        models=engine.models.info(),
        upstreams=engine.upstreams.states(),
    )


def _profile(sources: Sources, name: str, profile: Profile) -> ProfileState:
    return ProfileState(
        name=name,
        description=profile.info.description,
        fingerprint=profile.fingerprint,
        scorers=profile.info.scorers,
        reads=profile.info.reads,
        groups=profile.info.groups is not None,
        watched=sources.watch.numbers(name) if sources.watch.window(name) else None,
        cascades=sources.engine.metrics.cascades(name),
    )


def _chosen(sources: Sources, profile: str) -> ProfileDetail | None:
    if profile not in sources.engine.profiles:
        return None
    window = sources.watch.window(profile)
    columns = {"reward": [reward for reward, *_ in window]}
    for key in sources.engine.profiles[profile].info.scorers:
        columns[key] = [scores.get(key) for _, scores, *_ in window]
    histograms = {key: histogram(values) for key, values in columns.items()}
    return ProfileDetail(profile, sources.live.means(profile), histograms)


def _shadow(shadows: Shadows, profile: str) -> ShadowState:
    info = shadows.infos[profile]
    newest = (
        Differing(excerpt(each.sample.id), each.result.reward, each.shadow_result.reward)
        for each in reversed(shadows.disagreements)
        if (each.profile, each.shadow) == (profile, info.profile)
    )
    return ShadowState(profile, info, list(islice(newest, MOST_DIFFERING)))


def histogram(values: Sequence[float | None]) -> list[Bar]:
    """Return the bars of a histogram over all values that are not null, in rising order."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    tally = Counter(known)
    if len(tally) <= MAX_VALUES:
        return [Bar(value, value, count) for value, count in sorted(tally.items())]
    low, high = min(known), max(known)
    # Halve first: the difference of extreme values would overflow a float.
    width = high / BINS - low / BINS or 1.0
    places = Counter(
        min(BINS - 1, int((value / BINS - low / BINS) / width * BINS)) for value in known
    )
    return [Bar(low + i * width, low + (i + 1) * width, places[i]) for i in range(BINS)]
