"""Counters and histograms that take many numbers at once.

In: the numbers of a request, by labels. Out: what Prometheus makes of a counter and a histogram.
The Prometheus client's own take one number at a time, at 1 to 2 µs each. These belong to one
thread, the event loop's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class BulkCounter(Collector):
    """Counts by the values of `labels`."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: Counter[Labels] = Counter()

    def add(self, labels: Labels, count: int = 1) -> None:
        self._counts[labels] += count

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class BulkHistogram(Collector):
    """`bounds` are the upper bounds of the buckets; above the last there is one more."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: dict[Labels, float] = defaultdict(float)

    def observe(self, labels: Labels, tally: Mapping[float, int]) -> None:
        """Count each number as often as the tally has it."""
        counts = self._counts[labels]
        for value, count in tally.items():
            counts[bisect_left(self._bounds, value)] += count
            self._sums[labels] += value * count

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
