"""Cache verdicts, and share those being computed: the same sample costs one evaluation.

It serves one deterministic scorer at a time, and knows only its identity and the fields it reads.

A sample can meet three cases:
- It was scored before: it gets that verdict, unless the verdict was evicted.
- It occurs twice in a request, or is being scored for another request: it waits for that verdict.
  If that caller goes away, or its deadline passes first, the sample is scored after all.
- Otherwise it is scored. Scores and errors caused by the data are kept; `deadline_exceeded`,
  `worker_lost` and `scorer_failed` may differ next time and are not kept.
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

# The size of an entry beside its texts: the key, the score, their places in the order.
ENTRY_BYTES = 420
# A decoded explanation takes about this many times the bytes of its msgpack.
EXPLANATION_GROWTH = 6
# Larger metadata is not cached: copying and hashing it would block the event loop.
LARGE_BYTES = 2**20
LASTING_ERRORS = frozenset({"bad_ground_truth", "missing_field"})

_encode = msgpack.Encoder().encode


class ScoreMissing(Protocol):
    """A call that scores samples; it passes each verdict to `on_score`, by index, when ready."""

    def __call__(
        self, samples: Sequence[Sample], *, on_score: Callable[[int, Score], None]
    ) -> Awaitable[list[Score]]: ...


class VerdictCache:
    """An LRU cache of at most about `max_bytes` of verdicts; 0 keeps none.

    `counts`: samples answered from it (`hit`), that shared an evaluation (`shared`), that were
    scored (`miss`). Call its methods from one event loop only.
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
        """Return one score per sample, in order.

        `scorer` names scorer, version and everything else a verdict depends on, besides the fields
        `reads`. `give_up_at_s`: loop time until which to wait for another request's verdict.
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
        """Return the verdicts of others' evaluations; keys without a verdict are left out."""
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
    """Return the metrics of the cache; the hit rate is `hit` and `shared` over all."""
    samples = "Samples looked up in the verdict cache: found, sharing an evaluation, or scored"
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
    """Return whether waiting requests get this verdict too; not if one caller's deadline passed."""
    if score.error is None or score.timed_out:
        return True
    return not score.error.retryable and score.error.code != "deadline_exceeded"


def _key(salt: bytes, reads: Sequence[str], sample: Sample) -> Hashable:
    """Return a digest of the fields that the scorer reads; a unique key if that fails."""
    try:
        content = _encode([_plain(getattr(sample, name)) for name in reads])
    except (TypeError, ValueError, OverflowError, RecursionError):
        return object()
    return sha256(salt + content).digest()[:16]  # in hardware: half of blake2b's time


def _plain(value: object) -> object:
    """Return the value in the form that is encoded into a key.

    Raises:
        ValueError: it is too large to be worth hashing.
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
