"""Samples as they arrive: `metadata` stays JSON text until a scorer reads it.

Checks decoded requests and decodes the fields that scorers read. Most scorers read no metadata, and
unread metadata costs no more memory than its bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Raw, field

from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.schemas import Number, Sample, ScoreRequest
from touchstone_rewards.reward_server.structure import MAX_DEPTH, Structure

T = TypeVar("T")

# Bytes of JSON decoded before other tasks get a turn.
SLICE_BYTES = 2**20
# The value of a field that is missing.
NOTHING = Raw(b"null")

_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode
_decode_signals = msgspec.json.Decoder(dict[str, Number | list[Number] | None]).decode


class ReceivedSample(Sample, gc=False):
    """A sample whose `metadata` and `signals` are JSON text until they are decoded."""

    # Missing fields are empty dicts, as in `Sample`.
    signals: Raw = field(default_factory=dict)  # pyright: ignore
    metadata: Raw = field(default_factory=dict)  # pyright: ignore


class ReceivedRequest(ScoreRequest):
    """A request whose samples are `ReceivedSample`."""

    samples: list[ReceivedSample]  # pyright: ignore[reportIncompatibleVariableOverride]


class ReceivedEnvelope(ScoreRequest):
    """A request whose samples are still JSON text."""

    samples: list[Raw]  # pyright: ignore[reportIncompatibleVariableOverride]


_decode_sample = msgspec.json.Decoder(ReceivedSample).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


async def open_envelope(envelope: ReceivedEnvelope) -> ReceivedRequest:
    """Decode the samples, yielding to other tasks after each `SLICE_BYTES`.

    Raises:
        InvalidRequest: a sample does not match the schema.
    """
    samples = await _decode_items("samples", envelope.samples, _decode_sample)
    about = (getattr(envelope, name) for name in envelope.__struct_fields__[1:])
    return ReceivedRequest(samples, *about)


async def decode_in_slices(body: bytes | bytearray | memoryview, kind: type[T]) -> T:
    """Decode a struct of this kind, the items of its lists slice by slice.

    Raises:
        msgspec.DecodeError: it does not match the schema.
        InvalidRequest: an item of a list does not match the schema.
    """
    known = {field.encode_name: field for field in msgspec.structs.fields(cast(Any, kind))}
    values: dict[str, Any] = {}
    for name, raw in _decode_fields(body).items():
        if name not in known:
            continue
        item = _item_of(known[name].type)
        if item is not None and bytes(memoryview(raw)[:1]) == b"[":
            decode = msgspec.json.Decoder(item).decode
            values[known[name].name] = await _decode_items(name, _decode_list(raw), decode)
        else:
            values[known[name].name] = msgspec.json.decode(raw, type=known[name].type)
    for one in known.values():
        if one.required and one.name not in values:
            raise msgspec.ValidationError(f"Object missing required field `{one.encode_name}`")
    return kind(**values)


def _item_of(kind: Any) -> Any:
    """Return the item type of a list, or of a list that may be null; None for other types."""
    kinds = [each for each in get_args(kind) if each is not NoneType] or [kind]
    if get_origin(kind) is list:
        return get_args(kind)[0]
    return get_args(kinds[0])[0] if len(kinds) == 1 and get_origin(kinds[0]) is list else None


async def _decode_items(name: str, raws: Sequence[Raw], decode: Callable[[Raw], T]) -> list[T]:
    items: list[T] = []
    size = 0
    for place, raw in enumerate(raws):
        try:
            items.append(decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"{name}[{place}] does not fit: {error}") from error
        size += memoryview(raw).nbytes
        if size > SLICE_BYTES:
            await asyncio.sleep(0)
            size = 0
    return items


# Metadata and signals of a sample that may not be decoded yet. Without a frame of its own.
_perhaps_raw: Callable[[Sample], tuple[object, object]] = attrgetter("metadata", "signals")


def check_received(samples: Iterable[Sample], max_elements: int, *, count: bool = True) -> None:
    """Check the fields that are still JSON text, and decode `signals`.

    `count=False` skips the structure, for a body that was counted as a whole.

    Raises:
        InvalidRequest: a field is not an object, is nested too deeply, or has too many elements.
    """
    counted: Structure | None = None
    for sample in samples:
        metadata, signals = _perhaps_raw(sample)
        if isinstance(metadata, Raw):
            counted = counted or Structure()
            _check(sample, "metadata", metadata, counted if count else None)
        if isinstance(signals, Raw):
            counted = counted or Structure()
            _check(sample, "signals", signals, counted if count else None)
            sample.signals = _opened(sample, "signals", signals)
    if counted is not None and counted.elements > max_elements:
        raise InvalidRequest(
            f"metadata and signals hold more than {max_elements} elements; send fewer"
        )


def open_fields(samples: Sequence[Sample], reads: Sequence[str]) -> None:
    """Decode in place the fields that a scorer with these `reads` uses.

    Raises:
        InvalidRequest: a field is not JSON.
    """
    if "metadata" not in reads:
        return
    for sample in samples:
        metadata, _ = _perhaps_raw(sample)
        if isinstance(metadata, Raw):
            sample.metadata = _opened(sample, "metadata", metadata)


def is_null(raw: Raw) -> bool:
    """Return whether this is the JSON value null."""
    return memoryview(raw).nbytes == 4 and bytes(raw) == b"null"


def joined(objects: Sequence[Raw]) -> Raw:
    """Return one object, as JSON text, with the members of all `objects`; later members win.

    A value that is not an object is returned as it is, and `check_received` refuses it.
    """
    texts = [bytes(each) for each in objects] if len(objects) > 1 else []
    for raw, text in zip(objects, texts, strict=False):
        if not text.startswith(b"{"):
            return raw
    if not texts:
        return objects[0]
    members = (text[1:-1].strip() for text in texts)
    return Raw(b"{" + b",".join(filter(None, members)) + b"}")


def is_raw(sample: Sample) -> bool:
    """Return whether the sample's metadata is still JSON text."""
    return isinstance(_perhaps_raw(sample)[0], Raw)


def _check(sample: Sample, name: str, raw: Raw, counted: Structure | None) -> None:
    begin = bytes(memoryview(raw)[:40])
    if begin[:1] != b"{":
        raise InvalidRequest(f"sample {sample.id!r:.200}: {name} is {begin!r}, not an object")
    if counted is None:
        return
    text = bytes(raw)
    if len(text) <= MAX_DEPTH:  # too short to be too deep; an element takes at least two bytes
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
