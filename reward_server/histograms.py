"""Histograms that take many numbers at once: a Prometheus observation each would cost too much.

In: the numbers of a request, by labels. Out: what Prometheus makes of a histogram.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class BulkHistogram(Collector):
    """`bounds` are the upper bounds of the buckets; above the last there is one more."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._counts: dict[tuple[str, ...], list[int]] = defaultdict(
            lambda: [0] * (len(self._bounds) + 1)
        )
        self._sums: Counter[tuple[str, ...]] = Counter()

    def observe(self, labels: tuple[str, ...], tally: Counter[float]) -> None:
        """Count each number as often as the tally has it."""
        counts = self._counts[labels]
        for value, count in tally.items():
            counts[bisect_left(self._bounds, value)] += count
            self._sums[labels] += value * count  # type: ignore[assignment]  (a sum of floats)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
