"""The Prometheus metrics of one server: counters, histograms and gauges in their own registry."""

from __future__ import annotations

import os
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Info,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.schemas import ProfileInfo
from touchstone_rewards.reward_server.telemetry.deferred import Deferred
from touchstone_rewards.reward_server.telemetry.others import (
    MetricReading,
    Others,
    ProcessesCollector,
    TakenCounts,
)
from touchstone_rewards.reward_server.telemetry.tallies import (
    BulkCounter,
    BulkHistogram,
    Columns,
    ColumnTally,
    Verdicts,
    verdicts,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# The fixed cost of counting a request, in units of samples.
REQUEST_WEIGHT = 16
REWARDS = (-1.0, -0.5, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


# Route, status and seconds of one request.
Answered = tuple[str, int, float]
_ROUTE_AND_STATUS = itemgetter(0, 1)


WORKERS_ALIVE, WORKERS_PENDING = "reward_workers_alive", "reward_worker_pending_samples"
WORKER_RESTARTS = "reward_worker_restarts"


class PoolNumbers(Protocol):
    """The numbers of a worker pool that the metrics show."""

    @property
    def alive(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def restarts(self) -> Mapping[str, int]: ...


class ModelNumbers(Protocol):
    """The numbers of a model's batcher that the metrics show."""

    @property
    def not_ready_reason(self) -> str | None: ...
    @property
    def pending(self) -> int: ...
    @property
    def stats(self) -> object: ...


# The fields of `models.thread.BatchStats`, with their help texts.
MODEL_COUNTERS = {
    "batches": "Forward passes of the model",
    "inputs": "Inputs run",
    "tokens": "Tokens of the inputs run",
    "computed_tokens": "Tokens computed, padding included",
    "cached": "Inputs answered from the cache",
    "truncated": "Inputs shortened by truncation",
    "dropped": "Inputs dropped because no caller waited for them any more",
    "failed_batches": "Forward passes that failed or ran out of memory",
    "restarts": "Times the model was loaded again after its thread ended",
}


class Metrics:
    """One registry, so servers in one process do not mix. Use it from one event loop only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.others = Others()
        self.registry.register(ProcessesCollector(self.others))
        build = Info("reward_build", "Versions of the server and Python", registry=self.registry)
        build.info({"version": __version__, "python": platform.python_version()})
        self._readings: list[MetricReading] = []
        self._counters: dict[str, BulkCounter] = {}
        self._histograms: dict[str, BulkHistogram] = {}
        self._columns = Deferred(self._count_columns)
        self._answers = Deferred(self._count_answers)
        # Called with the route, status and seconds of requests, many at once.
        self.request_observers: list[Callable[[Sequence[Answered]], None]] = []
        # Called with the profile and the verdicts of all observed requests.
        self.verdict_observers: list[Callable[[str, Verdicts], None]] = []
        self._requests = self._counter("requests", "Requests answered", "route", "status")
        self._request_seconds = self._histogram(
            "request_seconds", "Time to answer", SECONDS, "route"
        )
        text = "Samples answered, by profile and by `ok` or the error code"
        self._samples = self._counter("samples", text, "profile", "status")
        text = "Samples by profile and by the inner profile that its route chose"
        self._routed = self._counter("routed_samples", text, "profile", "routed_to")
        self._rewards = self._histogram("reward", "Rewards given", REWARDS, "profile")
        text = "Scores given, by profile and scorer"
        self._scores = self._histogram("score", text, REWARDS, "profile", "scorer")
        text = (
            "Scores at the scorer's best (correct), its worst (incorrect), in between (partial), "
            "or missing (unscored)"
        )
        self._verdicts = self._counter("verdicts", text, "profile", "scorer", "verdict")
        text = (
            "Samples by the outcome of a scorer that runs for some samples only: not asked, "
            "decided, undecided or failed"
        )
        self._cascades = self._counter("cascade_samples", text, "profile", "scorer", "outcome")
        self._key_requests = self._counter("key_requests", "Requests by key", "key", "status")
        self._key_samples = self._counter("key_samples", "Samples sent, by key", "key")
        self._batch_samples = self._histogram("request_samples", "Samples per request", SIZES)
        text = "Time of one scorer for the samples of one request"
        self.scorer_seconds = self._histogram("scorer_seconds", text, SECONDS, "scorer")

    def _counter(self, name: str, text: str, *labels: str) -> BulkCounter:
        counter = BulkCounter(f"reward_{name}", text, labels)
        self.registry.register(counter)
        self._counters[name] = counter
        return counter

    def _histogram(
        self, name: str, text: str, bounds: Sequence[float], *labels: str
    ) -> BulkHistogram:
        histogram = BulkHistogram(f"reward_{name}", text, labels, bounds)
        self.registry.register(histogram)
        self._histograms[name] = histogram
        return histogram

    def observe_columns(self, profile: ProfileInfo, columns: Columns) -> None:
        """Count the outcome of one request."""
        self._columns.add((profile, columns), REQUEST_WEIGHT + len(columns.rewards))

    def _count_columns(self, noted: Sequence[tuple[ProfileInfo, Columns]]) -> None:
        together: dict[tuple[str, str], tuple[ProfileInfo, list[Columns]]] = {}
        self._batch_samples.observe_many((), [len(columns.rewards) for _, columns in noted])
        for profile, columns in noted:
            key = profile.name, profile.fingerprint
            together.setdefault(key, (profile, []))[1].append(columns)
        for profile, requests in together.values():
            self._count_verdicts(profile, verdicts(requests))

    def _count_verdicts(self, profile: ProfileInfo, found: Verdicts) -> None:
        if found.reward.known:
            self._samples.add((profile.name, "ok"), found.reward.known)
            self._rewards.observe((profile.name,), found.reward)
        for code, count in found.errors.items():
            self._samples.add((profile.name, code), count)
        for scorer, scores in found.scores.items():
            self._scores.observe((profile.name, scorer), scores)
            for verdict, count in _verdicts(scores, profile.ranges[scorer]):
                if count:
                    self._verdicts.add((profile.name, scorer, verdict), count)
        for (scorer, outcome), count in found.cascades.items():
            self._cascades.add((profile.name, scorer, outcome), count)
        for observe in self.verdict_observers:
            observe(profile.name, found)

    def cascades(self, profile: str) -> dict[str, dict[str, int]]:
        """Return the outcomes of a profile's cascades: number of samples by scorer and outcome."""
        found: dict[str, dict[str, int]] = {}
        for (name, scorer, outcome), count in self._cascades.counts():
            if name == profile:
                found.setdefault(scorer, {})[outcome] = count
        return found

    def observe_routed(self, profile: str, counts: Mapping[str, int]) -> None:
        """Count one request's samples by inner profile."""
        for routed_to, count in counts.items():
            self._routed.add((profile, routed_to), count)

    def observe_key(self, key: str, status: int, samples: int) -> None:
        self._key_requests.add((key, str(status)))
        self._key_samples.add((key,), samples)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request; a `status` of 499 means that the caller hung up."""
        self._answers.add((route, status, seconds), REQUEST_WEIGHT)

    def _count_answers(self, noted: Sequence[Answered]) -> None:
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for (route, status), count in Counter(map(_ROUTE_AND_STATUS, noted)).items():
            self._requests.add((route, str(status)), count)
        for route, _, took_s in noted:
            seconds[route].append(took_s)
        for route, times in seconds.items():
            self._request_seconds.observe_many((route,), times)
        for observe in self.request_observers:
            observe(noted)

    def count(self) -> None:
        """Count everything observed so far, before the metrics are read."""
        self._columns.now()
        self._answers.now()

    def watch(self, readings: Sequence[MetricReading]) -> None:
        """Read these whenever the metrics are read."""
        self._readings += readings
        self.registry.register(_ReadingsCollector(readings, self.others))

    def watch_pool(self, pool: PoolNumbers) -> None:
        """Read the pool's numbers whenever the metrics are read."""
        self.watch(pool_readings(pool))

    def watch_models(self, models: Mapping[str, ModelNumbers]) -> None:
        """Read the models' numbers whenever the metrics are read."""
        self.registry.register(_ModelCollector(models))

    def reading(self, name: str) -> Counter[str]:
        """Return the numbers of a reading by its name, including those of other processes."""
        return sum(
            (self.others.added(each) for each in self._readings if each.name == name),
            Counter[str](),
        )

    def take(self) -> TakenCounts:
        """Return the counts since the last call, and the current readings."""
        self.count()
        return TakenCounts(
            os.getpid(),
            {name: counter.take() for name, counter in self._counters.items()},
            {name: histogram.take() for name, histogram in self._histograms.items()},
            {each.name: dict(each.read()) for each in self._readings},
        )

    def merge(self, source: int, taken: TakenCounts) -> None:
        """Add the counts that the process at the place `source` took."""
        for name, counts in taken.counts.items():
            self._counters[name].merge(counts)
        for name, histogram in taken.histograms.items():
            self._histograms[name].merge(histogram)
        self.others.now[source] = taken

    def render(self) -> tuple[bytes, str]:
        """Return the metrics as text, and its content type."""
        self.count()
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _ReadingsCollector(Collector):
    def __init__(self, readings: Sequence[MetricReading], others: Others) -> None:
        self.readings = readings
        self.others = others

    def collect(self) -> Iterable[Metric]:
        for reading in self.readings:
            labels = [reading.label] if reading.label else []
            family = reading.kind(reading.name, reading.text, labels=labels)
            for value, number in self.others.added(reading).items():
                family.add_metric([value] if labels else [], number)
            yield family


def _verdicts(
    scores: ColumnTally, bounds: tuple[float | None, float | None]
) -> Iterator[tuple[str, int]]:
    """Yield the number of scores in each class."""
    worst, best = bounds
    correct = 0 if best is None else scores.counts.get(best, 0)
    incorrect = 0 if worst is None or worst == best else scores.counts.get(worst, 0)
    yield "correct", correct
    yield "incorrect", incorrect
    yield "partial", scores.known - correct - incorrect
    yield "unscored", scores.unknown


def pool_readings(pool: PoolNumbers) -> list[MetricReading]:
    """Return the metrics of a worker pool."""
    waiting = "Samples queued for workers or running in them"
    return [
        MetricReading(
            GaugeMetricFamily, WORKERS_ALIVE, "Workers alive", "", lambda: {"": pool.alive}
        ),
        MetricReading(GaugeMetricFamily, WORKERS_PENDING, waiting, "", lambda: {"": pool.pending}),
        MetricReading(
            CounterMetricFamily,
            WORKER_RESTARTS,
            "Workers replaced, by reason",
            "reason",
            lambda: pool.restarts,
        ),
    ]


class _ModelCollector(Collector):
    def __init__(self, models: Mapping[str, ModelNumbers]) -> None:
        self.models = models

    def collect(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily(
            "reward_model_ready", "1 while the model is served", labels=["model"]
        )
        pending = GaugeMetricFamily(
            "reward_model_pending_inputs", "Inputs waiting for the model", labels=["model"]
        )
        for name, model in self.models.items():
            ready.add_metric([name], float(model.not_ready_reason is None))
            pending.add_metric([name], model.pending)
        yield ready
        yield pending
        for field, text in MODEL_COUNTERS.items():
            counter = CounterMetricFamily(f"reward_model_{field}", text, labels=["model"])
            for name, model in self.models.items():
                counter.add_metric([name], getattr(model.stats, field))
            yield counter
