"""What the other processes of a server counted, added to what this one did.

In: what they took from their own metrics, each by its place. Out: one server's numbers.
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

# Of one process, and of no sense added.
NOT_ADDED = {"process_start_time_seconds", "process_max_fds"}


class MetricReading(NamedTuple):
    """Numbers that are read whenever the metrics are: `read` gives them by the label's values, and
    without a label by an empty one."""

    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    label: str
    read: Callable[[], Mapping[str, float]]


class TakenCounts(Struct, array_like=True):
    """Counts and histograms since the last time, by the metric's name; readings as they are now."""

    pid: int
    counts: dict[str, dict[Labels, int]]
    histograms: dict[str, dict[Labels, tuple[list[int], float]]]
    readings: dict[str, dict[str, float]]


class Others:
    """The newest readings of each other process, by its place; what dead ones had counted stays."""

    def __init__(self) -> None:
        self.now: dict[int, TakenCounts] = {}
        self._gone: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def leave(self, source: int) -> None:
        """Take leave of a process that has ended."""
        if (last := self.now.pop(source, None)) is not None:
            for name, numbers in last.readings.items():
                self._gone[name].update(numbers)

    def added(self, reading: MetricReading) -> Counter[str]:
        """Return this process's reading and those of the others together."""
        numbers: Counter[str] = Counter()
        numbers.update(reading.read())
        for each in self.now.values():
            numbers.update(each.readings.get(reading.name, {}))
        if reading.kind is CounterMetricFamily:
            numbers.update(self._gone[reading.name])
        return numbers

    @property
    def pids(self) -> list[int]:
        """The processes that serve, this one first."""
        return [os.getpid(), *(each.pid for each in self.now.values())]


class ProcessesCollector(Collector):
    """Memory, processor time and files of all processes that serve, together."""

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
