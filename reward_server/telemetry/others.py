"""The counts of the other processes of a server, added to those of this one.

Each process reports the counts of its own metrics; together they are the metrics of one server.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from msgspec import Struct
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from touchstone_rewards.reward_server.telemetry.tallies import Labels

# Metrics of one process whose sum has no meaning.
NOT_ADDED = {"process_start_time_seconds", "process_max_fds"}


class MetricReading(NamedTuple):
    """Numbers that are read whenever the metrics are: `read` returns them by the label's value, or
    under "" without a label."""

    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    label: str
    read: Callable[[], Mapping[str, float]]


class TakenCounts(Struct, array_like=True):
    """Counts and histograms since the last report, by metric name, and the current readings."""

    pid: int
    counts: dict[str, dict[Labels, int]]
    histograms: dict[str, dict[Labels, tuple[list[int], float]]]
    readings: dict[str, dict[str, float]]


class Others:
    """The latest readings of each other process, by its place; counts of ended ones are kept."""

    def __init__(self) -> None:
        self.now: dict[int, TakenCounts] = {}
        self._gone: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def leave(self, source: int) -> None:
        """Remove a process that has ended, and keep its counts."""
        if (last := self.now.pop(source, None)) is not None:
            for name, numbers in last.readings.items():
                self._gone[name].update(numbers)

    def added(self, reading: MetricReading) -> Counter[str]:
        """Return the sum of this reading over all processes."""
        numbers: Counter[str] = Counter()
        numbers.update(reading.read())
        for each in self.now.values():
            numbers.update(each.readings.get(reading.name, {}))
        if reading.kind is CounterMetricFamily:
            numbers.update(self._gone[reading.name])
        return numbers

    @property
    def pids(self) -> list[int]:
        """The ids of the serving processes, this one first."""
        return [os.getpid(), *(each.pid for each in self.now.values())]


class ProcessesCollector(Collector):
    """Memory, processor time and files of all serving processes together."""

    def __init__(self, others: Others) -> None:
        self.others = others

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in self.others.pids:
            for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                known = families.setdefault(family.name, family)
                if known is not family and family.name not in NOT_ADDED:
                    pairs = zip(known.samples, family.samples, strict=True)
                    added = [one._replace(value=one.value + other.value) for one, other in pairs]
                    known.samples = added
        return families.values()
