"""Count the numbers of requests by column; counters and histograms that take many at once.

The Prometheus client's own counters and histograms take one number at a time, at 1 to 2 µs each.
Use these from one thread only, the event loop's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import add
from types import MappingProxyType
from typing import NamedTuple, cast

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]
# How many numbers a histogram gathers before it counts them.
TOGETHER = 256
NO_CASCADES: Mapping[tuple[str, str], int] = MappingProxyType({})


class ColumnTally(NamedTuple):
    """One column: how often each number occurs, how many are known, their sum, how many are not.

    Scores repeat, so work per distinct number is cheap.
    """

    counts: Mapping[float, int]
    known: int
    total: float
    unknown: int


def tally(column: Sequence[float | None]) -> ColumnTally:
    """Return the tally of the numbers; None counts as unknown."""
    counts = Counter(column)
    unknown = counts.pop(None, 0)
    known = cast("Counter[float]", counts)
    total = sum(value * count for value, count in known.items())
    return ColumnTally(known, len(column) - unknown, total, unknown)


class Columns(NamedTuple):
    """The outcome of one request: its rewards, each scorer's scores, the codes of its errors.

    `cascades`: the number of samples by key and outcome of scorers that run for some samples only.
    """

    rewards: Sequence[float | None]
    scores: Mapping[str, Sequence[float | None]]
    errors: Sequence[str] = ()
    cascades: Mapping[tuple[str, str], int] = NO_CASCADES


class Verdicts(NamedTuple):
    """The outcome of requests: tallies of rewards and of each scorer's scores, errors by code, and
    outcomes of cascades."""

    reward: ColumnTally
    scores: Mapping[str, ColumnTally]
    errors: Mapping[str, int]
    cascades: Mapping[tuple[str, str], int] = NO_CASCADES


def verdicts(requests: Sequence[Columns]) -> Verdicts:
    """Return the combined counts of these requests of one profile."""
    rewards: list[float | None] = []
    scores: dict[str, list[float | None]] = {key: [] for key in requests[0].scores}
    errors: list[str] = []
    for each in requests:
        rewards += each.rewards
        errors += each.errors
        for key, values in scores.items():
            values += each.scores[key]
    return Verdicts(
        tally(rewards),
        {key: tally(values) for key, values in scores.items()},
        Counter(errors),
        sum_of([each.cascades for each in requests if each.cascades]),
    )


def sum_of(parts: Sequence[Mapping[tuple[str, str], int]]) -> Mapping[tuple[str, str], int]:
    """Return the sum of all these counts."""
    return sum(map(Counter, parts), Counter[tuple[str, str]]()) if parts else NO_CASCADES


class BulkCounter(Collector):
    """Counts by the values of `labels`."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: Counter[Labels] = Counter()

    def add(self, labels: Labels, count: int = 1) -> None:
        self._counts[labels] += count

    def counts(self) -> list[tuple[Labels, int]]:
        """Return each combination of labels with its count."""
        return list(self._counts.items())

    def take(self) -> dict[Labels, int]:
        """Return the counts and reset them."""
        counts, self._counts = self._counts, Counter()
        return counts

    def merge(self, counts: Mapping[Labels, int]) -> None:
        """Add the counts of another process."""
        self._counts.update(counts)

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class BulkHistogram(Collector):
    """A histogram. `bounds` are the upper bounds of the buckets; one more is above the last."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: dict[Labels, float] = defaultdict(float)
        self._waiting: dict[Labels, list[float]] = defaultdict(list)

    def observe(self, labels: Labels, numbers: ColumnTally) -> None:
        """Count each number as often as it is in the tally."""
        counts = self._counts[labels]
        for value, count in numbers.counts.items():
            counts[bisect_left(self._bounds, value)] += count
        self._sums[labels] += numbers.total

    def observe_one(self, labels: Labels, value: float) -> None:
        """Count this number later, together with others."""
        waiting = self._waiting[labels]
        waiting.append(value)
        if len(waiting) >= TOGETHER:
            self._count(labels, waiting)

    def observe_many(self, labels: Labels, values: Iterable[float]) -> None:
        """Count these numbers."""
        self._count(labels, [*values])

    def _count(self, labels: Labels, values: list[float]) -> None:
        """Count the numbers and empty the list; sorting them leaves one search per bucket."""
        values.sort()
        counts, before = self._counts[labels], 0
        for place, bound in enumerate(self._bounds):
            after = bisect_right(values, bound, before)
            counts[place] += after - before
            before = after
        counts[-1] += len(values) - before
        self._sums[labels] += sum(values)
        values.clear()

    def take(self) -> dict[Labels, tuple[list[int], float]]:
        """Return the bucket counts and the sum, and reset them."""
        self._count_waiting()
        taken = {labels: (counts, self._sums[labels]) for labels, counts in self._counts.items()}
        self._counts.clear()
        self._sums.clear()
        return taken

    def merge(self, taken: Mapping[Labels, tuple[Sequence[int], float]]) -> None:
        """Add the counts of another process."""
        for labels, (counts, total) in taken.items():
            before = self._counts[labels]
            before[:] = map(add, before, counts)
            self._sums[labels] += total

    def _count_waiting(self) -> None:
        for labels, waiting in self._waiting.items():
            self._count(labels, waiting)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        self._count_waiting()
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
