"""What Prometheus sees of one server: counters, histograms and gauges in a registry of its own."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reward_server.histograms import BulkHistogram
from reward_server.schemas import ProfileInfo, SampleResult

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
REWARDS = (-1.0, -0.5, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Reading(NamedTuple):
    """Numbers that are read whenever the metrics are: `read` gives them by the label's values."""

    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    label: str
    read: Callable[[], Mapping[str, float]]


class PoolNumbers(Protocol):
    """What the metrics read of a worker pool."""

    @property
    def alive(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def restarts(self) -> Mapping[str, int]: ...


class ModelNumbers(Protocol):
    """What the metrics read of a model's batcher."""

    @property
    def not_ready_reason(self) -> str | None: ...
    @property
    def pending(self) -> int: ...
    @property
    def stats(self) -> object: ...


# The fields of `model_thread.BatchStats`, and what they count.
MODEL_COUNTERS = {
    "batches": "Forwards of the model",
    "inputs": "Inputs run",
    "tokens": "Tokens of the inputs run",
    "computed_tokens": "Tokens computed, padding included",
    "cached": "Inputs answered from the cache",
    "truncated": "Inputs that truncation shortened",
    "dropped": "Inputs dropped because no one waited any more",
    "failed_batches": "Forwards that failed or ran out of memory",
    "restarts": "Times the model was loaded again after its thread ended",
}


class Metrics:
    """One registry: several servers in one process do not mix."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        # Told route, status and seconds of every request.
        self.request_observers: list[Callable[[str, int, float], None]] = []
        self.requests = Counter(
            "reward_requests_total", "Requests answered", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "reward_request_seconds",
            "Time to answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.samples = Counter(
            "reward_samples_total",
            "Samples answered, by profile and by `ok` or the error's code",
            ["profile", "status"],
            registry=registry,
        )
        self.rewards = BulkHistogram("reward_reward", "Rewards given", ["profile"], REWARDS)
        self.scores = BulkHistogram(
            "reward_score", "Scores given, by profile and scorer", ["profile", "scorer"], REWARDS
        )
        registry.register(self.rewards)
        registry.register(self.scores)
        self.verdicts = Counter(
            "reward_verdicts_total",
            "Scores at the scorer's best (correct), its worst (incorrect), between (partial), or "
            "none (unscored)",
            ["profile", "scorer", "verdict"],
            registry=registry,
        )
        self.key_requests = Counter(
            "reward_key_requests_total", "Requests by key", ["key", "status"], registry=registry
        )
        self.key_samples = Counter(
            "reward_key_samples_total", "Samples asked for by key", ["key"], registry=registry
        )
        self.batch_samples = Histogram(
            "reward_request_samples", "Samples of a request", buckets=SIZES, registry=registry
        )
        self.scorer_seconds = Histogram(
            "reward_scorer_seconds",
            "Time of one scorer over one request's samples",
            ["scorer"],
            buckets=SECONDS,
            registry=registry,
        )

    def observe_results(self, profile: ProfileInfo, results: Sequence[SampleResult]) -> None:
        """Count the verdicts of one request."""
        self.batch_samples.observe(len(results))
        tally = Tally(result.error.code if result.error else "ok" for result in results)
        for status, count in tally.items():
            self.samples.labels(profile.name, status).inc(count)
        rewards = Tally(result.reward for result in results if result.reward is not None)
        self.rewards.observe((profile.name,), rewards)
        for scorer, bounds in profile.ranges.items():
            self._observe_scores(profile.name, scorer, bounds, results)

    def _observe_scores(
        self,
        profile: str,
        scorer: str,
        bounds: tuple[float | None, float | None],
        results: Sequence[SampleResult],
    ) -> None:
        tally = Tally(result.scores.get(scorer) for result in results)
        verdicts: Tally[str] = Tally()
        for value, count in tally.items():
            verdicts[_verdict(value, bounds)] += count
        for verdict, count in verdicts.items():
            self.verdicts.labels(profile, scorer, verdict).inc(count)
        scores = Tally({value: n for value, n in tally.items() if value is not None})
        self.scores.observe((profile, scorer), scores)

    def observe_key(self, key: str, status: int, samples: int) -> None:
        self.key_requests.labels(key, status).inc()
        self.key_samples.labels(key).inc(samples)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        self.requests.labels(route, status).inc()
        self.request_seconds.labels(route).observe(seconds)
        for observe in self.request_observers:
            observe(route, status, seconds)

    def watch(self, readings: Sequence[Reading]) -> None:
        """Read these whenever the metrics are read."""
        self.registry.register(_ReadingsCollector(readings))

    def watch_pool(self, pool: PoolNumbers) -> None:
        """Read the pool's numbers whenever the metrics are read."""
        self.registry.register(_PoolCollector(pool))

    def watch_models(self, models: Mapping[str, ModelNumbers]) -> None:
        """Read the models' numbers whenever the metrics are read."""
        self.registry.register(_ModelCollector(models))

    def render(self) -> tuple[bytes, str]:
        """The metrics as text, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _ReadingsCollector(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = readings

    def collect(self) -> Iterable[Metric]:
        for reading in self.readings:
            family = reading.kind(reading.name, reading.text, labels=[reading.label])
            for value, number in reading.read().items():
                family.add_metric([value], number)
            yield family


def _verdict(value: float | None, bounds: tuple[float | None, float | None]) -> str:
    if value is None:
        return "unscored"
    worst, best = bounds
    return "correct" if value == best else "incorrect" if value == worst else "partial"


class _PoolCollector(Collector):
    def __init__(self, pool: PoolNumbers) -> None:
        self.pool = pool

    def collect(self) -> Iterable[Metric]:
        yield from self._gauges()
        restarts = CounterMetricFamily(
            "reward_worker_restarts", "Workers replaced, by reason", labels=["reason"]
        )
        for reason, count in self.pool.restarts.items():
            restarts.add_metric([reason], count)
        yield restarts

    def _gauges(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("reward_workers_alive", "Workers that live", value=self.pool.alive)
        yield GaugeMetricFamily(
            "reward_worker_pending_samples",
            "Samples queued for workers or running in them",
            value=self.pool.pending,
        )


class _ModelCollector(Collector):
    def __init__(self, models: Mapping[str, ModelNumbers]) -> None:
        self.models = models

    def collect(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily("reward_model_ready", "Model is served", labels=["model"])
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
