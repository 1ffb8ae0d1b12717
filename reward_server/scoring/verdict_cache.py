"""Verdicts given before, and those being given: the same sample costs one evaluation.

In: samples for one deterministic scorer, and how to have them scored. Out: a score for each, in
their order. It knows nothing of scorers but what identifies them and what they read.

What happens to a sample:
- It was scored before: that verdict, unless it gave way to newer ones.
- It stands twice in a request, or is being scored for another: it waits for that one's verdict. It
  is scored after all when that caller goes away, or its deadline passes, before there is one.
- Otherwise it is scored. A score and an error that lies in the data are kept; `deadline_exceeded`,
  `worker_lost` and `scorer_failed` may come out otherwise next time, and are not.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from hashlib import sha256
from typing import Protocol

from msgspec import Raw, msgpack
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from touchstone_rewards.reward_server.pool.calls import NEVER_BEGUN
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

# What an entry takes beside its texts: the key, the score, their places in the order.
ENTRY_BYTES = 420
# A decoded explanation takes about so many times the bytes of its msgpack.
EXPLANATION_GROWTH = 6
# Metadata of this size are not looked at: copying and hashing them holds the event loop.
LARGE_BYTES = 2**20
LASTING_ERRORS = frozenset({"bad_ground_truth", "missing_field"})

_encode = msgpack.Encoder().encode


class ScoreMissing(Protocol):
    """Has samples scored; tells `on_score` of each verdict, by position, as soon as it is there."""

    def __call__(
        self, samples: Sequence[Sample], *, on_score: Callable[[int, Score], None]
    ) -> Awaitable[list[Score]]: ...


class VerdictCache:
    """At most about `max_bytes` of verdicts, those longest unused out first; 0 keeps none.

    `counts`: samples answered from it (`hit`), that shared an evaluation (`shared`), that were
    scored (`miss`). Its methods belong to one event loop.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.counts = Counter(hit=0, shared=0, miss=0)
        self._kept: OrderedDict[Hashable, tuple[Score, int]] = OrderedDict()
        self._flying: dict[Hashable, list[asyncio.Future[Score | None]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def score(
        self,
        scorer: str,
        reads: Sequence[str],
        samples: Sequence[Sample],
        run: ScoreMissing,
        *,
        give_up_at_s: float | None = None,
    ) -> list[Score]:
        """One score a sample, in their order.

        `scorer` names scorer, version and whatever else a verdict depends on beside the fields
        `reads`. `give_up_at_s`: in the loop's time, how long to wait for another's verdict.
        """
        scores: dict[int, Score] = {}
        places: dict[Hashable, list[int]] = {}
        salt = sha256(scorer.encode()).digest()
        for at, sample in enumerate(samples):
            key = _key(salt, reads, sample)
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                scores[at] = kept[0]
            else:
                places.setdefault(key, []).append(at)
        self.counts["hit"] += len(scores)
        while places:
            mine = {key: samples[at[0]] for key, at in places.items() if key not in self._flying}
            found = await self._lead(mine, run) if mine else {}
            found |= await self._follow([key for key in places if key not in mine], give_up_at_s)
            self.counts["miss"] += len(mine)
            self.counts["shared"] += sum(len(places[key]) - (key in mine) for key in found)
            for key, score in found.items():
                scores |= dict.fromkeys(places.pop(key), score)
        return [scores[at] for at in range(len(samples))]

    async def _lead(
        self, wanted: dict[Hashable, Sample], run: ScoreMissing
    ) -> dict[Hashable, Score]:
        keys = list(wanted)
        waiting: dict[Hashable, list[asyncio.Future[Score | None]]] = {key: [] for key in keys}
        self._flying |= waiting

        def settle(at: int, score: Score) -> None:
            self._keep(keys[at], score)
            self._land(keys[at], waiting[keys[at]], score if _is_for_all(score) else None)

        try:
            found = await run(list(wanted.values()), on_score=settle)
            return dict(zip(keys, found, strict=True))
        finally:
            for key, waiters in waiting.items():
                self._land(key, waiters, None)

    async def _follow(
        self, keys: Sequence[Hashable], give_up_at_s: float | None
    ) -> dict[Hashable, Score]:
        """What others' evaluations came to; without a verdict, a key is left out."""
        loop = asyncio.get_running_loop()
        futures: dict[Hashable, asyncio.Future[Score | None]] = {}
        found: dict[Hashable, Score] = {}
        for key in keys:
            if (kept := self._kept.get(key)) is not None:
                found[key] = kept[0]
            elif (waiters := self._flying.get(key)) is not None:
                futures[key] = loop.create_future()
                waiters.append(futures[key])
        if futures:
            left_s = None if give_up_at_s is None else max(0.0, give_up_at_s - loop.time())
            await asyncio.wait(futures.values(), timeout=left_s)
        for key, future in futures.items():
            score = future.result() if future.done() else NEVER_BEGUN
            if score is not None:
                found[key] = score
        return found

    def _land(
        self, key: Hashable, waiters: list[asyncio.Future[Score | None]], score: Score | None
    ) -> None:
        if self._flying.get(key) is waiters:
            del self._flying[key]
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(score)
        waiters.clear()

    def _keep(self, key: Hashable, score: Score) -> None:
        if score.error is not None and score.error.code not in LASTING_ERRORS:
            return
        if not isinstance(key, bytes) or key in self._kept:
            return
        size = _size(score)
        self._kept[key] = score, size
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, (_, size) = self._kept.popitem(last=False)
            self.bytes -= size


def cache_readings(cache: VerdictCache) -> list[MetricReading]:
    """What the metrics show of it; the hit rate is `hit` and `shared` over all."""
    samples = "Samples looked for in the verdict cache: found, sharing an evaluation, or scored"
    sizes = "Bytes and verdicts in the verdict cache"
    return [
        MetricReading(
            CounterMetricFamily, "reward_cache_samples", samples, "outcome", lambda: cache.counts
        ),
        MetricReading(
            GaugeMetricFamily,
            "reward_cache_size",
            sizes,
            "unit",
            lambda: {"bytes": cache.bytes, "verdicts": len(cache)},
        ),
    ]


def _is_for_all(score: Score) -> bool:
    """Whether others that wait for the sample get this too: not what one caller's deadline did."""
    if score.error is None or score.timed_out:
        return True
    return not score.error.retryable and score.error.code != "deadline_exceeded"


def _key(salt: bytes, reads: Sequence[str], sample: Sample) -> Hashable:
    """A digest of what the scorer can see; for what cannot be encoded, a key like no other."""
    try:
        content = _encode([_plain(getattr(sample, name)) for name in reads])
    except (TypeError, ValueError, OverflowError, RecursionError):
        return object()
    return sha256(salt + content).digest()[:16]  # in hardware: half of blake2b's time


def _plain(value: object) -> object:
    """The value as it is encoded into a key.

    Raises:
        ValueError: it is so large that its digest would take longer than is worth it.
    """
    if not isinstance(value, Raw):
        return value
    if memoryview(value).nbytes > LARGE_BYTES:
        raise ValueError("too large")
    return bytes(value)


def _size(score: Score) -> int:
    size = ENTRY_BYTES + (len(score.error.message) if score.error else 0)
    if score.explanation is not None:
        size += EXPLANATION_GROWTH * len(_encode(score.explanation))
    return size
