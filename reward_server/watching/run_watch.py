"""Watch training runs and raise an alarm when a signal changes, with samples that show it.

Alarms appear in the next answers to the same run, at `/alarms`, in the metrics and at the
listeners. A request is delayed by a few microseconds only: its samples are queued and examined
later, a few at a time. Memory is bounded by limits on runs, samples per point and queued samples;
anything beyond is skipped and counted. The state survives a reload of profiles.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace
from prometheus_client.core import CounterMetricFamily

from touchstone_rewards.reward_server.alarms import Alarm, AlarmSample
from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading
from touchstone_rewards.reward_server.watching.change_points import ChangePoint, DetectorConfig
from touchstone_rewards.reward_server.watching.held_bytes import held_bytes
from touchstone_rewards.reward_server.watching.points import MOST_OF_A_POINT, Raised, RunPoints
from touchstone_rewards.reward_server.watching.signals import (
    SHADOW_SIGNALS,
    SIGNALS,
    Signal,
    facts_of,
    shadow_facts,
)

# Limit on the queued samples of one run; further samples are skipped.
MOST_WAITING_OF_A_RUN = 4096
MAX_WAITING_BYTES = 16 * 2**20
MOST_RUNS, MOST_ALARMS = 64, 256
# Samples examined in one go, the largest share of a core for the watch, and its shortest rest: the
# event loop's timer counts whole milliseconds, and shorter rests would be none.
SLICE, TIME_SHARE, REST_S = 8, 0.05, 0.005
# An alarm is repeated in this many points' answers; an answer has only the newest ones.
TOLD_POINTS, TOLD_ALARMS = 2, 8

logger = logging.getLogger(__name__)

RunName = tuple[str, str, str]  # (name of the key, run, profile)
Listener = Callable[[Alarm], None]


class _Answered(NamedTuple):
    run: WatchedRun
    step: int | None
    samples: Sequence[Sample]
    results: Sequence[SampleResult]
    bytes: int


class WatchedRun:
    """One run under one profile: its points, those of a second profile, and its alarms."""

    def __init__(self, name: RunName, fingerprint: str, config: DetectorConfig) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.own = RunPoints(SIGNALS, config)
        self.shadowed = RunPoints(SHADOW_SIGNALS, config)
        self.alarms: deque[tuple[int, Alarm]] = deque(maxlen=TOLD_ALARMS)
        self.last_step = 0
        self.waiting = 0

    def told(self) -> list[Alarm]:
        """Return the alarms to include in answers now."""
        return [alarm for at, alarm in self.alarms if self.own.count - at <= TOLD_POINTS]


class RunWatch:
    """Watches all runs while `run` is running.

    `alarms`: the latest alarms with their samples, newest last. `listeners`: called with each
    alarm. `profiles`: the engine's live mapping, which a reload changes.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        config: DetectorConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.alarms: deque[Alarm] = deque(maxlen=MOST_ALARMS)
        self.listeners: list[Listener] = []
        self.raised: Counter[tuple[str, str]] = Counter()  # by profile and signal
        self.left_out: Counter[str] = Counter()
        self._profiles = profiles
        self._config = config or DetectorConfig()
        self._clock = clock
        self._runs: OrderedDict[RunName, WatchedRun] = OrderedDict()
        self._waiting: deque[_Answered] = deque()
        self._waiting_bytes = 0
        self._owed_s = 0.0  # rest that is due
        self._came = asyncio.Event()
        self._prefix = secrets.token_hex(4)

    def take(self, request: ScoreRequest, answer: ScoreResponse) -> None:
        """Queue the samples of an answered request if there is room, and add recent alarms to the
        answer.
        """
        if request.priority != "train" or not request.samples:
            return
        caller = current().caller
        name = (caller.name if caller else "", request.run or "", answer.profile)
        run = self._runs.get(name)
        if run is None or run.fingerprint != answer.fingerprint:  # a new reward: start over
            run = self._begin(name, answer.fingerprint)
        if request.run is not None:
            _tell(run, request.step, answer)
        samples, results = request.samples, answer.results
        if len(samples) > MOST_OF_A_POINT:
            self.left_out[answer.profile] += len(samples) - MOST_OF_A_POINT
            samples, results = samples[:MOST_OF_A_POINT], results[:MOST_OF_A_POINT]
        full = run.waiting + len(samples) > MOST_WAITING_OF_A_RUN
        if full or not self._has_room(size := held_bytes(samples, results)):
            self.left_out[answer.profile] += len(samples)
            return
        run.waiting += len(samples)
        self._runs.move_to_end(name)
        self._waiting_bytes += size
        if not self._waiting:
            self._came.set()
        self._waiting.append(_Answered(run, request.step, samples, results, size))

    def _has_room(self, size: int) -> bool:
        return not self._waiting_bytes or self._waiting_bytes + size <= MAX_WAITING_BYTES

    def _begin(self, name: RunName, fingerprint: str) -> WatchedRun:
        run = self._runs[name] = WatchedRun(name, fingerprint, self._config)
        if len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return run

    async def run(self) -> None:
        """Examine the queued samples until cancelled."""
        while True:
            if not self._waiting:
                self._came.clear()
                await self._came.wait()
            answered = self._waiting.popleft()
            self._waiting_bytes -= answered.bytes
            answered.run.waiting -= len(answered.samples)
            try:
                await self._look(answered)
            except Exception:  # a bad request must not end the watch
                logger.exception("the watch failed on samples of run %r", answered.run.name[1])

    async def _look(self, answered: _Answered) -> None:
        began_s = time.thread_time()
        run, points = answered.run, answered.run.own
        config = self._profiles[run.name[2]].config if run.name[2] in self._profiles else None
        compared = config.watch.compare if config and config.watch else None
        weights = {key: entry.weight for key, entry in config.scorers.items()} if config else {}
        self._raise(run, points, points.begin(answered.step))
        for at in range(0, len(answered.samples), SLICE):
            pairs = zip(answered.samples[at : at + SLICE], answered.results[at:], strict=False)
            points.add(facts_of(*pair, compared, weights) for pair in pairs)
            await self._rest(began_s)
            began_s = time.thread_time()

    async def _rest(self, began_s: float) -> None:
        """Rest for as long as the work since `began_s` requires, once it is worth a timer."""
        self._owed_s += (time.thread_time() - began_s) * (1 / TIME_SHARE - 1)
        if self._owed_s >= REST_S:
            owed_s, self._owed_s = self._owed_s, 0.0
            await asyncio.sleep(owed_s)

    def shadowed(
        self,
        request: ScoreRequest,
        answer: ScoreResponse,
        compared: Sequence[tuple[Sample, SampleResult, SampleResult]],
    ) -> None:
        """Record a second profile's results. Call it in the context of the request."""
        caller = current().caller
        run = self._runs.get((caller.name if caller else "", request.run or "", answer.profile))
        if request.priority != "train" or run is None or run.fingerprint != answer.fingerprint:
            return
        self._raise(run, run.shadowed, run.shadowed.begin(request.step))
        facts = (shadow_facts(sample, own, other.reward) for sample, own, other in compared)
        run.shadowed.add(facts)

    def _raise(
        self,
        run: WatchedRun,
        points: RunPoints,
        found: Iterable[Raised],
    ) -> None:
        for signal, change, shown in found:
            key, name, profile = run.name
            self.raised[profile, signal.name] += 1
            alarm = Alarm(
                id=f"{self._prefix}-{sum(self.raised.values())}",
                time=round(self._clock(), 3),
                run=name,
                profile=profile,
                fingerprint=run.fingerprint,
                signal=signal.name,
                step=points.step,
                since=change.since,
                expected=round(change.expected, 4),
                tolerance=round(change.tolerance, 4),
                value=round(change.value, 4),
                message=told(signal, change, points.step, name, profile),
                key=key,
                sample_ids=[one.id for one in shown],
            )
            logger.warning("alarm %s: %s", alarm.id, alarm.message)
            run.alarms.append((run.own.count, alarm))
            texts = [AlarmSample(one.id, one.prompt, one.excerpt, one.reward) for one in shown]
            self.alarms.append(replace(alarm, samples=texts))
            for listen in self.listeners:
                listen(alarm)

    def readings(self) -> list[MetricReading]:
        """Return the watch's metrics."""

        def by_profile() -> dict[str, float]:
            counts: Counter[str] = Counter()
            for (profile, _), count in self.raised.items():
                counts[profile] += count
            return dict(counts)

        def by_signal() -> dict[str, float]:
            counts: Counter[str] = Counter()
            for (_, signal), count in self.raised.items():
                counts[signal.partition(":")[0]] += count
            return dict(counts)

        counter = CounterMetricFamily
        return [
            MetricReading(
                counter, "reward_alarms", "Alarms of the watch over runs", "profile", by_profile
            ),
            MetricReading(
                counter,
                "reward_signal_alarms",
                "Alarms of the watch over runs, by signal",
                "signal",
                by_signal,
            ),
            MetricReading(
                counter,
                "reward_watch_left_out",
                "Samples that the watch over runs had no room for",
                "profile",
                lambda: dict(self.left_out),
            ),
        ]


def _tell(run: WatchedRun, step: int | None, answer: ScoreResponse) -> None:
    """Add the alarms of the run's last points to the answer."""
    if step is not None:
        if step < run.last_step - 1:  # the run resumes from an earlier checkpoint
            run.alarms.clear()
        run.last_step = step
    if run.alarms and (found := run.told()):
        answer.alarms = found


def told(signal: Signal, change: ChangePoint, step: int, run: str, profile: str) -> str:
    """Return a sentence that describes the alarm."""
    whose = f"run {run!r} under {profile}" if run else f"what {profile} scores"
    return (
        f"{whose}, step {step}: {signal.text}: {change.value:.3g} since step {change.since}, where "
        f"{change.expected:.3g} ± {change.tolerance:.2g} was expected from its first part"
    )
