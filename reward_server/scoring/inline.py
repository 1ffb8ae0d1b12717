"""Run cheap, linear-time scorers in the event loop.

Each sample gets a score or an error, in order; a scorer that raises fails only those samples. A
plug-in scorer starts in the workers until it has proved there to be quick. Every slice of samples
is timed. A scorer that turns out to be slow is moved: the rest of the samples, and all later ones,
go to the workers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter

from msgspec import Raw

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.pool.failures import log_failure
from touchstone_rewards.reward_server.pool.pools import WorkerPools
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers import SCORERS
from touchstone_rewards.reward_server.scorers.base import InlineScorer, Score, ScorerSpec
from touchstone_rewards.reward_server.scorers.returned import (
    WrongAnswer,
    checked_scores,
    name_of,
    raised,
    trace_of,
)

logger = logging.getLogger(__name__)

# After this much text, or about this much time, other tasks get a turn.
SLICE_BYTES = 256 * 1024
SLICE_S = 0.005
# A sample that takes longer, or has more text, belongs in a worker.
SLOW_S = 0.1
LARGE_SAMPLE_BYTES = 2**20
# The first slice of a scorer that has not been timed yet.
FIRST_SLICE_BYTES = 1
# This many quick samples in a row in the workers let a scorer run in the event loop.
PROOF_SAMPLES = 32
PACE_MEMORY, ALMOST = 0.7, 0.9


class InlinePace:
    """The speed of the inline scorers by spec key, and the set of those that are too slow.

    `slice_bytes`: how much text each may score at a time, once it was timed.
    """

    def __init__(self) -> None:
        self.slow: set[str] = set()
        # Scorers that the workers cannot build.
        self.stay: set[str] = set()
        self.slice_bytes: dict[str, float] = {}

    def note(self, key: str, count: int, size: int, took_s: float) -> None:
        """Record that a slice of `count` samples and `size` bytes took `took_s`."""
        if took_s > SLOW_S * count and key not in self.stay:
            self.slow.add(key)
            self.slice_bytes.pop(key, None)
            logger.warning(
                "scorer %s took %.2f s in the event loop; moved to workers", key[:200], took_s
            )
            return
        best = min(SLICE_BYTES, max(1, size) * SLICE_S / max(took_s, 1e-7))
        old = self.slice_bytes.get(key, best)
        new = PACE_MEMORY * old + (1 - PACE_MEMORY) * best
        self.slice_bytes[key] = new if new < ALMOST * SLICE_BYTES else SLICE_BYTES


class InlineScorers:
    """The inline scorers of an engine. The workers of `pool` also build those that are not proved
    yet, that proved slow, or that got large samples."""

    def __init__(self, pool: WorkerPools) -> None:
        self.pool = pool
        self.pace = InlinePace()
        self._moved: set[str] = set()

    def at_once(
        self, key: str, scorer: InlineScorer, samples: Sequence[Sample], explain: bool
    ) -> list[Score] | None:
        """Return one score per sample; None if they exceed a slice or the scorer was not timed yet.
        Then `score` handles them."""
        most_bytes = self.pace.slice_bytes.get(key)
        if most_bytes is None or not samples:
            return None
        reads = scorer.reads
        end, size = _slice(samples, reads, 0, most_bytes)
        if end < len(samples) or size > SLICE_BYTES:
            return None
        if "metadata" in reads:
            open_fields(samples, reads)
        began_s = time.perf_counter()
        found = _score_slice(scorer, samples, explain)
        took_s = time.perf_counter() - began_s
        if took_s > SLICE_S or most_bytes < SLICE_BYTES:
            self.pace.note(key, len(samples), size, took_s)
        return found

    async def score(
        self,
        key: str,
        spec: ScorerSpec,
        scorer: InlineScorer,
        samples: Sequence[Sample],
        explain: bool,
        give_up_at_s: float | None,
        in_workers: Callable[[Sequence[Sample]], Awaitable[list[Score]]],
    ) -> list[Score]:
        """Return one score per sample, in order; call `in_workers` for large samples and for
        scorers that are slow or not proved.

        `key`: the key of `spec`, passed because computing it takes time.
        """
        if not self._is_proved(key, spec) and await self._moves(key, spec):
            return await in_workers(samples)
        large: list[int] = []
        if scorer.reads != ("response",):  # the response alone has its own limit
            sizes = (read_bytes(sample, scorer.reads) for sample in samples)
            large = [at for at, size in enumerate(sizes) if size > LARGE_SAMPLE_BYTES]
        if large and not await self._moves(key, spec):
            large = []
        order = [*(at for at in range(len(samples)) if at not in large), *large] if large else None
        ordered = samples if order is None else [samples[at] for at in order]
        small = samples if order is None else ordered[: len(samples) - len(large)]
        open_fields(small, scorer.reads)
        found = await score_inline(scorer, small, key, self.pace, explain, give_up_at_s)
        while len(found) < len(small) and not await self._moves(key, spec):
            rest = small[len(found) :]
            found += await score_inline(scorer, rest, key, self.pace, explain, give_up_at_s)
        if len(found) < len(samples):
            found += await in_workers(ordered[len(found) :])
        if order is None:
            return found
        return [score for _, score in sorted(zip(order, found, strict=True), key=itemgetter(0))]

    def _is_proved(self, key: str, spec: ScorerSpec) -> bool:
        """Return whether the scorer may run in the loop: it is built in, or proved quick."""
        if key in self.pace.slow:
            return False
        if spec.name in SCORERS or key in self.pace.slice_bytes or key in self.pace.stay:
            return True
        return key in self._moved and self.pool.timing(key).quick_in_a_row >= PROOF_SAMPLES

    async def _moves(self, key: str, spec: ScorerSpec) -> bool:
        """Make the workers build the scorer if they have not yet; return whether they could."""
        if key not in self._moved:
            try:
                await self.pool.add({key: spec})
                self._moved.add(key)
            except ConfigError as error:
                logger.error("scorer %s stays in the event loop: %s", spec.name, error)
                self.pace.slow.discard(key)
                self.pace.stay.add(key)
        return key in self._moved


async def score_inline(
    scorer: InlineScorer,
    samples: Sequence[Sample],
    key: str,
    pace: InlinePace,
    explain: bool,
    give_up_at_s: float | None,
) -> list[Score]:
    """Score in the event loop, slice by slice, yielding to other tasks in between.

    If it returns fewer scores than samples, the scorer is too slow, and workers score the rest.
    """
    loop = asyncio.get_running_loop()
    scores: list[Score] = []
    while len(scores) < len(samples) and key not in pace.slow:
        if scores:
            await asyncio.sleep(0)
        if give_up_at_s is not None and loop.time() >= give_up_at_s:
            late = sample_error(
                "deadline_exceeded",
                "the request's deadline passed before this sample was scored",
                retryable=True,
            )
            return scores + [Score(error=late)] * (len(samples) - len(scores))
        most_bytes = pace.slice_bytes.get(key, FIRST_SLICE_BYTES)
        end, size = _slice(samples, scorer.reads, len(scores), most_bytes)
        part = samples[len(scores) : end]
        began_s = time.perf_counter()
        scores += _score_slice(scorer, part, explain)
        took_s = time.perf_counter() - began_s
        if took_s > SLICE_S or most_bytes < SLICE_BYTES:
            pace.note(key, len(part), size, took_s)
    return scores


def read_bytes(sample: Sample, reads: Sequence[str]) -> int:
    """Return roughly how much text a scorer with these `reads` looks at."""
    return sum(_text_bytes(getattr(sample, name)) for name in reads)


def _text_bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Raw):
        return memoryview(value).nbytes
    if is_object(value):
        return sum(map(_text_bytes, value.values()))
    if is_list(value):
        return sum(map(_text_bytes, value))
    return 8 if (text := getattr(value, "content", None)) is None else _text_bytes(text)


def _slice(
    samples: Sequence[Sample], reads: Sequence[str], start: int, most_bytes: float
) -> tuple[int, int]:
    """Return the end of a slice that begins at `start`, and its size."""
    only_response = reads == ("response",)
    if only_response and len(samples) == 1:
        return 1, len(samples[0].response)
    size = 0
    for at in range(start, len(samples)):
        sample = samples[at]
        size += len(sample.response) if only_response else read_bytes(sample, reads)
        if size >= most_bytes:
            return at + 1, size
    return len(samples), size


def _score_slice(scorer: InlineScorer, samples: Sequence[Sample], explain: bool) -> list[Score]:
    try:
        return checked_scores(scorer, scorer.score(samples, explain=explain), len(samples))
    except KeyboardInterrupt:
        raise
    # A scorer call: its bug must not fail the request, nor its `sys.exit` stop the server.
    except BaseException as error:  # noqa: BLE001
        if not isinstance(error, WrongAnswer):
            log_failure(name_of(scorer), trace_of(error), current())
        if len(samples) == 1:
            return [raised(scorer, error)]
    return [_score_slice(scorer, [sample], explain)[0] for sample in samples]
