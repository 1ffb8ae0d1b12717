"""What the last ten minutes were like, in slots of two seconds: rates, latency, failures, means.

In: each request and each profile's results as they are answered. Out: series for the dashboard. It
keeps sums and counts alone, at most `SLOTS` slots of them.
"""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct, field

from touchstone_rewards.reward_server.http.gate import OPEN_PATHS
from touchstone_rewards.reward_server.telemetry.metrics import Answered
from touchstone_rewards.reward_server.telemetry.tallies import ColumnTally, Verdicts

SLOT_S = 2
SLOTS = 300
# Latencies are counted in steps of 2 ** (1/8): a quantile is right within 5%.
STEPS_PER_OCTAVE = 8
# The last one is that of 66 minutes and more.
STEPS = 256
# Not work that the server was asked for, but someone looking at it.
LOOKS = OPEN_PATHS | {
    *("/metrics", "/profiles", "/scorers", "/models", "/alarms"),
    *("/dashboard/data", "/dashboard/explain", "/dashboard/samples"),
}


class TimeSlot(Struct):
    """Sums and counts of one slot; `number` counts the slots of the clock."""

    number: int
    requests: int = 0
    samples: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    # profile -> reward or scorer -> [how many, their sum]
    totals: dict[str, dict[str, list[float]]] = field(
        default_factory=dict[str, dict[str, list[float]]]
    )


class Rates(Struct):
    """One value for each whole slot, the oldest first; null where nothing was answered."""

    slot_s: int
    requests_per_s: list[float]
    samples_per_s: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


class Failures(Struct):
    """How many over all slots: requests by HTTP status, samples by the error's code."""

    requests: dict[str, int]
    samples: dict[str, int]


class Live:
    """The slots. `clock` counts seconds.

    The counts of latencies are made once, for all slots: larger blocks that live for ten minutes
    among the short-lived ones of requests keep the process from reusing its memory.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latencies = [array("I", [0] * STEPS) for _ in range(SLOTS + 1)]
        self._slots: deque[TimeSlot] = deque(maxlen=SLOTS + 1)
        self._first = self._number()

    def observe_requests(self, answered: Sequence[Answered]) -> None:
        """Count answered requests; a `status` of 499 is a caller who hung up."""
        slot = self._slot()
        latencies = self._latencies_of(slot)
        worked = [(status, seconds) for route, status, seconds in answered if route not in LOOKS]
        slot.requests += len(worked)
        slot.refused.update(str(status) for status, _ in worked if status >= 400)
        served = sorted(seconds for status, seconds in worked if status < 400)
        begin = 0
        while begin < len(served):
            step = _step(served[begin])
            end = max(begin + 1, bisect_left(served, _STEP_ENDS[step], begin))
            latencies[step] += end - begin
            begin = end

    def observe_verdicts(self, profile: str, verdicts: Verdicts) -> None:
        """Count the verdicts of some requests."""
        reward = verdicts.reward
        asked = reward.known + reward.unknown
        if not asked:
            return
        slot = self._slot()
        slot.samples += asked
        totals = slot.totals.setdefault(profile, {})
        _add(totals, "reward", reward)
        slot.failed.update(verdicts.errors)
        for key, scores in verdicts.scores.items():
            _add(totals, key, scores)

    def rates(self) -> Rates:
        """Throughput of all that was answered, latency of what was not refused."""
        slots = self._whole()
        quantiles = [self._quantiles(slot) if slot else None for slot in slots]
        return Rates(
            slot_s=SLOT_S,
            requests_per_s=[slot.requests / SLOT_S if slot else 0.0 for slot in slots],
            samples_per_s=[slot.samples / SLOT_S if slot else 0.0 for slot in slots],
            p50_ms=[pair[0] if pair else None for pair in quantiles],
            p99_ms=[pair[1] if pair else None for pair in quantiles],
        )

    def failures(self) -> Failures:
        """What was refused and what could not be scored, by code."""
        kept = [slot for slot in self._slots if slot.number > self._number() - SLOTS]
        refused = sum((slot.refused for slot in kept), Counter[str]())
        failed = sum((slot.failed for slot in kept), Counter[str]())
        return Failures(dict(refused.most_common()), dict(failed.most_common()))

    def means(self, profile: str) -> dict[str, list[float | None]]:
        """The mean reward and the mean of each score, one value for each whole slot."""
        totals = [slot.totals.get(profile, {}) if slot else {} for slot in self._whole()]
        keys = dict.fromkeys(key for slot in totals for key in slot)
        return {key: [_mean(slot.get(key)) for slot in totals] for key in keys}

    def _number(self) -> int:
        return int(self._clock() // SLOT_S)

    def _slot(self) -> TimeSlot:
        number = self._number()
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(TimeSlot(number))
            latencies = self._latencies_of(self._slots[-1])
            latencies[:] = array("I", [0] * STEPS)
        return self._slots[-1]

    def _latencies_of(self, slot: TimeSlot) -> array[int]:
        return self._latencies[slot.number % len(self._latencies)]

    def _quantiles(self, slot: TimeSlot) -> list[float] | None:
        steps = enumerate(self._latencies_of(slot))
        return quantile_ms({step: count for step, count in steps if count}, (0.5, 0.99))

    def _whole(self) -> list[TimeSlot | None]:
        """Every slot that is over, also those in which nothing happened."""
        now = self._number()
        by_number = {slot.number: slot for slot in self._slots}
        return [by_number.get(number) for number in range(max(self._first, now - SLOTS), now)]


def quantile_ms(latencies: Mapping[int, int], shares: Iterable[float]) -> list[float] | None:
    """The latencies, in ms, below which these shares lie; None without any."""
    total = sum(latencies.values())
    if not total:
        return None
    ordered = sorted(latencies.items())
    return [_upper(ordered, share * total) for share in shares]


def _upper(ordered: Sequence[tuple[int, int]], wanted: float) -> float:
    below = 0
    for step, count in ordered:
        below += count
        if below >= wanted:
            return float(f"{2 ** (step / STEPS_PER_OCTAVE) / 1e3:.4g}")
    raise AssertionError("a share above 1")


def _step(seconds: float) -> int:
    return min(STEPS - 1, round(STEPS_PER_OCTAVE * math.log2(max(seconds, 1e-6) * 1e6)))


# Where each step ends, in seconds; the last one never does.
_STEP_ENDS = [2 ** ((step + 0.5) / STEPS_PER_OCTAVE) / 1e6 for step in range(STEPS - 1)] + [
    math.inf
]


def _add(totals: dict[str, list[float]], key: str, numbers: ColumnTally) -> None:
    total = totals.setdefault(key, [0, 0.0])
    total[0] += numbers.known
    total[1] += numbers.total


def _mean(total: Sequence[float] | None) -> float | None:
    return round(total[1] / total[0], 5) if total and total[0] else None
