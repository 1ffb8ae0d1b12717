"""Samples as they arrive: `metadata` stays JSON text until a scorer reads it.

In: what a request's decoder made. Out: the same, checked, and fields decoded for the scorers that
read them. Most scorers read no metadata, and what is not read costs its bytes and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
from msgspec import Raw, field

from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.schemas import Number, Sample, ScoreRequest
from touchstone_rewards.reward_server.structure import MAX_DEPTH, Structure

# Of text, decoded at a stretch.
SLICE_BYTES = 2**20

_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode
_decode_signals = msgspec.json.Decoder(dict[str, Number | list[Number] | None]).decode


class ReceivedSample(Sample, gc=False):
    """A sample whose `metadata` and `signals` are still JSON text, until they are opened."""

    # Absent ones are empty dicts, as everywhere.
    signals: Raw = field(default_factory=dict)  # pyright: ignore
    metadata: Raw = field(default_factory=dict)  # pyright: ignore


class ReceivedRequest(ScoreRequest):
    """A request whose samples are `ReceivedSample`."""

    samples: list[ReceivedSample]  # pyright: ignore[reportIncompatibleVariableOverride]


class ReceivedEnvelope(ScoreRequest):
    """A request whose samples are still JSON text."""

    samples: list[Raw]  # pyright: ignore[reportIncompatibleVariableOverride]


_decode_sample = msgspec.json.Decoder(ReceivedSample).decode


async def open_envelope(envelope: ReceivedEnvelope) -> ReceivedRequest:
    """Decode the samples, giving way to others after each `SLICE_BYTES`.

    Raises:
        InvalidRequest: one does not fit.
    """
    samples: list[ReceivedSample] = []
    size = 0
    for place, raw in enumerate(envelope.samples):
        try:
            samples.append(_decode_sample(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"samples[{place}] does not fit: {error}") from error
        size += memoryview(raw).nbytes
        if size > SLICE_BYTES:
            await asyncio.sleep(0)
            size = 0
    return ReceivedRequest(
        samples, envelope.profile, envelope.deadline_ms, envelope.priority, envelope.explain
    )


def check_received(
    samples: Iterable[ReceivedSample], max_elements: int, *, count: bool = True
) -> None:
    """Check the fields that are still text; signals, which are numbers, are decoded.

    Not to `count` leaves out the structure of a body that was counted as a whole.

    Raises:
        InvalidRequest: one is no object, is nested too deeply, or they hold too many elements.
    """
    counted: Structure | None = None
    for sample in samples:
        if sample.metadata:
            counted = counted or Structure()
            _check(sample, "metadata", sample.metadata, counted if count else None)
        if sample.signals:
            counted = counted or Structure()
            _check(sample, "signals", sample.signals, counted if count else None)
            sample.signals = _opened(sample, "signals", sample.signals)
    if counted is not None and counted.elements > max_elements:
        raise InvalidRequest(
            f"metadata and signals hold more than {max_elements} elements; send fewer"
        )


def open_fields(samples: Sequence[Sample], reads: Sequence[str]) -> None:
    """Decode, in place, what a scorer with these `reads` is going to look at.

    Raises:
        InvalidRequest: it is not JSON.
    """
    if "metadata" not in reads:
        return
    for sample in samples:
        metadata = cast(object, sample.metadata)
        if isinstance(metadata, Raw):
            sample.metadata = _opened(sample, "metadata", metadata)


def is_raw(sample: Sample) -> bool:
    """Is the sample's metadata still JSON text?"""
    return isinstance(cast(object, sample.metadata), Raw)


def _check(sample: Sample, name: str, raw: Raw, counted: Structure | None) -> None:
    begin = bytes(memoryview(raw)[:40])
    if begin[:1] != b"{":
        raise InvalidRequest(f"sample {sample.id!r:.200}: {name} is {begin!r}, no object")
    if counted is None:
        return
    text = bytes(raw)
    if len(text) <= MAX_DEPTH:  # too short to be too deep, and no element without a byte
        counted.elements += len(text) // 2
        return
    counted.feed(text)
    if counted.deepest > MAX_DEPTH:
        raise InvalidRequest(
            f"sample {sample.id!r:.200}: {name} is nested more than {MAX_DEPTH} deep"
        )


def _opened(sample: Sample, name: str, raw: Raw) -> Any:
    decode = _decode_signals if name == "signals" else _decode_metadata
    try:
        return decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"sample {sample.id!r:.200}: {name} does not fit: {error}") from error
