"""The watch over a run: alarms where a signal changes, with the samples that raised them.

In: the requests that the engine answered, as an observer. Out: alarms, in the next answers to the
same run, at `/alarms`, in the metrics, and to whoever listens. A request costs its answer a few
microseconds: the facts are made of its samples afterwards, some at a time. Memory is bounded in
runs, in samples of a step and in what waits; what is too much is left out and counted. All state
is one object, which a reload of profiles leaves alone.
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

# Samples of one run that wait to be looked at; what is beyond is left out.
MOST_WAITING_OF_A_RUN = 4096
MAX_WAITING_BYTES = 16 * 2**20
MOST_RUNS, MOST_ALARMS = 64, 256
# Samples looked at in one go, and what of the processor's time the watch may take. It rests for
# several milliseconds at once: a timer of the event loop counts whole ones, and less is none.
SLICE, TIME_SHARE, REST_S = 8, 0.05, 0.005
# An alarm stands in the answers of its run for so many points; a run gets the newest ones.
TOLD_POINTS, TOLD_ALARMS = 2, 8

logger = logging.getLogger(__name__)

RunName = tuple[str, str, str]  # the key's name, the run's, the profile's
Listener = Callable[[Alarm], None]


class _Answered(NamedTuple):
    run: WatchedRun
    step: int | None
    samples: Sequence[Sample]
    results: Sequence[SampleResult]
    bytes: int


class WatchedRun:
    """One run under one profile: what its samples say, and those that a second profile scored."""

    def __init__(self, name: RunName, fingerprint: str, config: DetectorConfig) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.own = RunPoints(SIGNALS, config)
        self.shadowed = RunPoints(SHADOW_SIGNALS, config)
        self.alarms: deque[tuple[int, Alarm]] = deque(maxlen=TOLD_ALARMS)
        self.last_step = 0
        self.waiting = 0

    def told(self) -> list[Alarm]:
        """The alarms that its answers say now."""
        return [alarm for at, alarm in self.alarms if self.own.count - at <= TOLD_POINTS]


class RunWatch:
    """Watches all runs while `run` runs. `alarms`: the last ones with their samples, newest last.

    `listeners` hear of each alarm. `profiles`: those of the engine, which a reload changes.
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
        self._owed_s = 0.0  # of rest, for the work done since the last one
        self._came = asyncio.Event()
        self._prefix = secrets.token_hex(4)

    def take(self, request: ScoreRequest, answer: ScoreResponse) -> None:
        """Keep these for later, as far as there is room, and say in the answer what was raised."""
        if request.priority != "train" or not request.samples:
            return
        caller = current().caller
        name = (caller.name if caller else "", request.run or "", answer.profile)
        run = self._runs.get(name)
        if run is None or run.fingerprint != answer.fingerprint:  # another reward: begin anew
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
        """Look at what was taken, until cancelled."""
        while True:
            if not self._waiting:
                self._came.clear()
                await self._came.wait()
            answered = self._waiting.popleft()
            self._waiting_bytes -= answered.bytes
            answered.run.waiting -= len(answered.samples)
            try:
                await self._look(answered)
            except Exception:  # one request's samples are no reason to end the watch
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
        """Leave the others their share of the time since the work began."""
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
        """Take in what a second profile said of samples: each with both results. It is called in
        the context of the request."""
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
        """What the metrics show of it."""

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
                counter, "reward_signal_alarms", "The same, by their signal", "signal", by_signal
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
    """Say in the answer what was raised in the last points of its run."""
    if step is not None:
        if step < run.last_step - 1:  # it goes on from an earlier checkpoint
            run.alarms.clear()
        run.last_step = step
    if run.alarms and (found := run.told()):
        answer.alarms = found


def told(signal: Signal, change: ChangePoint, step: int, run: str, profile: str) -> str:
    """Return the alarm in a sentence."""
    whose = f"run {run!r} under {profile}" if run else f"what {profile} scores"
    return (
        f"{whose}, step {step}: {signal.text}: {change.value:.3g} since step {change.since}, where "
        f"{change.expected:.3g} ± {change.tolerance:.2g} was expected from its first part"
    )
