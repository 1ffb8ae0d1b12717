"""Scorers that run in the event loop: cheap ones, in linear time.

In: samples. Out: a score or an error for each, in their order; a scorer that raises fails only the
samples it raises for. Nothing here can end a scorer that hangs: such a one belongs in a worker.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Sequence

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, Scorer

# After this much text the scorers let others have a turn.
SLICE_BYTES = 256 * 1024

logger = logging.getLogger(__name__)


async def score_inline(
    scorer: Scorer, samples: Sequence[Sample], *, explain: bool, give_up_at: float | None
) -> list[Score]:
    """Score in the event loop, slice by slice, giving way between slices."""
    loop = asyncio.get_running_loop()
    scores: list[Score] = []
    for part in _slices(samples):
        if scores:
            await asyncio.sleep(0)
        if give_up_at is not None and loop.time() >= give_up_at:
            late = sample_error(
                "deadline_exceeded", "the request's deadline passed first", retryable=True
            )
            return scores + [Score(error=late)] * (len(samples) - len(scores))
        scores += _score_slice(scorer, part, explain)
    return scores


def _slices(samples: Sequence[Sample]) -> Iterable[Sequence[Sample]]:
    start = size = 0
    for end, sample in enumerate(samples):
        size += len(sample.response)
        if size >= SLICE_BYTES:
            yield samples[start : end + 1]
            start, size = end + 1, 0
    if start < len(samples):
        yield samples[start:]


def _score_slice(scorer: Scorer, samples: Sequence[Sample], explain: bool) -> list[Score]:
    try:
        scores = scorer.score(samples, explain=explain)
        if len(scores) != len(samples):
            raise ValueError(f"{len(scores)} scores for {len(samples)} samples")
    except Exception as error:  # a scorer call: its bug must not become the request's
        logger.exception("scorer %s failed", type(scorer).__name__)
        if len(samples) > 1:
            return [_score_slice(scorer, [sample], explain)[0] for sample in samples]
        failed = sample_error("scorer_failed", f"{type(error).__name__}: {error}"[:300])
        return [Score(error=failed)]
    return [
        score if score.value is None or math.isfinite(score.value) else _not_finite(score)
        for score in scores
    ]


def _not_finite(score: Score) -> Score:
    return Score(error=sample_error("scorer_failed", f"the scorer returned {score.value}"))
