"""Scorers that run in the event loop: cheap ones, in linear time.

In: samples. Out: a score or an error for each, in their order; a scorer that raises fails only the
samples it raises for. Nothing here can end a scorer that hangs: such a one belongs in a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.pool.failures import log_failure
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, Scorer
from touchstone_rewards.reward_server.scorers.returned import (
    WrongAnswer,
    checked_scores,
    name_of,
    raised,
    trace_of,
)

# After this much text the scorers let others have a turn.
SLICE_BYTES = 256 * 1024


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
        return checked_scores(scorer, scorer.score(samples, explain=explain), len(samples))
    except KeyboardInterrupt:
        raise
    # A scorer call: its bug must not become the request's, nor `sys.exit` the server's end.
    except BaseException as error:  # noqa: BLE001
        if not isinstance(error, WrongAnswer):
            log_failure(name_of(scorer), trace_of(error), current())
        if len(samples) == 1:
            return [raised(scorer, error)]
    return [_score_slice(scorer, [sample], explain)[0] for sample in samples]
