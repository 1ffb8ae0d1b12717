"""Rates, latencies, failures and mean rewards of the last ten minutes, in slots of two seconds.

Only sums and counts are kept, for at most `SLOTS` slots.
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
# Width of latency buckets: 2 ** (1/8), so quantiles are exact to within 5%.
STEPS_PER_OCTAVE = 8
# The last bucket starts at 66 minutes.
STEPS = 256
# Requests of an observer, which do not count as work.
LOOKS = OPEN_PATHS | {
    *("/metrics", "/profiles", "/scorers", "/models", "/alarms"),
    *("/dashboard/data", "/dashboard/explain", "/dashboard/samples"),
}


class TimeSlot(Struct):
    """Sums and counts of one slot. `number`: index of the slot on the clock."""

    number: int
    requests: int = 0
    samples: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    # profile -> reward or scorer -> [count, sum]
    totals: dict[str, dict[str, list[float]]] = field(
        default_factory=dict[str, dict[str, list[float]]]
    )


class Rates(Struct):
    """One value per completed slot, the oldest first; null if nothing was answered."""

    slot_s: int
    requests_per_s: list[float]
    samples_per_s: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


class Failures(Struct):
    """Totals over all slots: requests by HTTP status, samples by error code."""

    requests: dict[str, int]
    samples: dict[str, int]


class Live:
    """Ring of slots. `clock` returns seconds.

    The arrays of latency counts are allocated once for all slots: large blocks that live for ten
    minutes among short-lived ones would fragment the heap.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latencies = [array("I", [0] * STEPS) for _ in range(SLOTS + 1)]
        self._slots: deque[TimeSlot] = deque(maxlen=SLOTS + 1)
        self._first = self._number()

    def observe_requests(self, answered: Sequence[Answered]) -> None:
        """Count answered requests. Status 499 means that the caller disconnected."""
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
        """Count the rewards, scores and errors of some requests."""
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
        """Return the throughput of all answered requests, and the latency of those not refused."""
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
        """Return the numbers of refused requests and of samples with an error, by code."""
        kept = [slot for slot in self._slots if slot.number > self._number() - SLOTS]
        refused = sum((slot.refused for slot in kept), Counter[str]())
        failed = sum((slot.failed for slot in kept), Counter[str]())
        return Failures(dict(refused.most_common()), dict(failed.most_common()))

    def means(self, profile: str) -> dict[str, list[float | None]]:
        """Return the mean reward and the mean of each score per completed slot."""
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
        """Return every completed slot, empty ones included."""
        now = self._number()
        by_number = {slot.number: slot for slot in self._slots}
        return [by_number.get(number) for number in range(max(self._first, now - SLOTS), now)]


def quantile_ms(latencies: Mapping[int, int], shares: Iterable[float]) -> list[float] | None:
    """Return the latency quantiles in ms for these shares; None if there are no requests."""
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


# Upper end of each bucket in seconds; the last bucket has none.
_STEP_ENDS = [2 ** ((step + 0.5) / STEPS_PER_OCTAVE) / 1e6 for step in range(STEPS - 1)] + [
    math.inf
]


def _add(totals: dict[str, list[float]], key: str, numbers: ColumnTally) -> None:
    total = totals.setdefault(key, [0, 0.0])
    total[0] += numbers.known
    total[1] += numbers.total


def _mean(total: Sequence[float] | None) -> float | None:
    return round(total[1] / total[0], 5) if total and total[0] else None
