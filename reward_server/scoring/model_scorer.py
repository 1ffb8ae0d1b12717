"""Prepare the inputs of a model scorer, and turn the model's outputs into scores.

Both run in Python in the event loop, slice by slice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.pool.failures import log_failure
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import ModelScorer, Score
from touchstone_rewards.reward_server.scorers.returned import (
    checked_score,
    name_of,
    raised,
    trace_of,
)

T = TypeVar("T")

# After about this much time, other tasks get a turn.
SLICE_S = 0.005


async def wanted_inputs(
    scorer: ModelScorer, samples: Sequence[Sample]
) -> AsyncIterator[list[Any] | Score]:
    """Yield for each sample the inputs for the model, or a score with the error.

    Raises:
        InvalidRequest: a field that the scorer reads is not JSON.
    """
    async for sample in in_slices(samples):
        open_fields([sample], scorer.reads)
        yield _inputs(scorer, sample)


async def judged(
    scorer: ModelScorer,
    samples: Sequence[Sample],
    wanted: Sequence[list[Any] | Score],
    outputs: Sequence[Any],
    explain: bool,
) -> AsyncIterator[Score]:
    """Yield the score of each sample; `outputs` are those of all inputs, in order."""
    rest = iter(outputs)
    async for sample, each in in_slices(zip(samples, wanted, strict=True)):
        if isinstance(each, Score):
            yield each
        else:
            yield _judged(scorer, sample, [next(rest) for _ in each], explain)


async def in_slices(values: Iterable[T]) -> AsyncIterator[T]:
    """Yield the values, letting other tasks run after every `SLICE_S`."""
    began_s = time.perf_counter()
    for value in values:
        yield value
        if time.perf_counter() - began_s > SLICE_S:
            await asyncio.sleep(0)
            began_s = time.perf_counter()


def _inputs(scorer: ModelScorer, sample: Sample) -> list[Any] | Score:
    try:
        wanted = scorer.inputs(sample)
        return Score(error=wanted) if isinstance(wanted, SampleError) else list(wanted)
    except Exception as error:  # noqa: BLE001 (a scorer call: it fails this sample alone)
        return _raised(scorer, error)


def _judged(scorer: ModelScorer, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
    error = next((one for one in outputs if isinstance(one, SampleError)), None)
    if error is not None:
        return Score(error=error)
    try:
        return checked_score(scorer, scorer.judge(sample, outputs, explain))
    except Exception as error:  # noqa: BLE001 (a scorer call: it fails this sample alone)
        return _raised(scorer, error)


def _raised(scorer: ModelScorer, error: Exception) -> Score:
    log_failure(name_of(scorer), trace_of(error), current())
    return raised(scorer, error)
