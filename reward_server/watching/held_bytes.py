"""Estimate the memory held by queued samples and results.

The estimate covers prompts, ground truths, signals, metadata and explanations as well as responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sys import getsizeof
from typing import Any, cast

from msgspec import Raw, Struct

from touchstone_rewards.reward_server.schemas import Sample, SampleResult, is_object

# The structs of a sample and its result, with empty containers, id and numbers.
SAMPLE_BYTES = 1024


def held_bytes(
    samples: Sequence[Sample], results: Sequence[SampleResult] = (), most: float = float("inf")
) -> int:
    """Return the bytes held by these samples and results; stop counting once above `most`.

    >>> held_bytes([Sample("1", "x" * 5000, "y" * 7000)]) - SAMPLE_BYTES > 12_000
    True
    """
    total = 0
    for sample in samples:
        total += SAMPLE_BYTES + getsizeof(sample.response)
        if type(sample.response) is not str:
            total += _bytes_of(sample.response, most - total)
        if sample.prompt is not None:
            total += _bytes_of(sample.prompt, most - total)
        for other in (sample.ground_truth, sample.signals, sample.metadata):
            if other:
                plain = type(other) is str  # nearly always
                total += getsizeof(other) if plain else _bytes_of(other, most - total)
        if total > most:
            return total
    for result in results:
        if result.explanation:
            total += _bytes_of(result.explanation, most - total)
            if total > most:
                return total
    return total


def _bytes_of(value: Any, most: float) -> int:
    """Return the bytes of a value and its contents, without recursion, since JSON may nest
    deeply.
    """
    if isinstance(value, str):
        return getsizeof(value)
    total, waiting = 0, [value]
    while waiting and total <= most:
        one = waiting.pop()
        total += memoryview(one).nbytes if isinstance(one, Raw) else getsizeof(one)
        waiting.extend(_parts_of(one))
    return total


def _parts_of(value: Any) -> Iterable[Any]:
    if is_object(value):
        return [*value, *value.values()]
    if isinstance(value, list | tuple):
        return cast("Sequence[Any]", value)
    if isinstance(value, Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    return ()
