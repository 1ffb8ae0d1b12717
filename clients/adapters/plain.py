"""Values of a trainer's batch as JSON has them: numpy's and torch's numbers, texts and arrays too.

Pure functions, without an import of those libraries: what has `tolist` or `item` is asked for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeGuard, cast

from touchstone_rewards.reward_server.schemas import Sample, is_readable, plain_ground_truth

# Deeper than any row of a dataset, and far from the interpreter's own limit.
MAX_DEPTH = 50


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value as texts, numbers, booleans, nulls, lists and dicts.

    Example:
        >>> plain({"level": (1, 2)})
        {'level': [1, 2]}

    Raises:
        TypeError: it has another type inside, or is too deep.
    """
    if value is None or type(value) in (str, bool, int, float):
        return value
    if depth > MAX_DEPTH:
        raise TypeError("something too deep")
    if isinstance(value, str):  # numpy.str_ is one
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        raise TypeError(f"{type(value).__name__}: decode it")
    if _is_mapping(value):
        return {str(key): plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, Decimal | Fraction):
        return str(value)
    if hasattr(value, "tolist"):  # arrays, tensors and numpy's scalars
        return plain(value.tolist(), depth + 1)
    if isinstance(value, int):  # an enumeration's member, for one
        return int(value)
    if isinstance(value, float):
        return float(value)
    if _is_collection(value):
        return [plain(entry, depth + 1) for entry in value]
    raise TypeError(type(value).__name__)


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_collection(value: object) -> TypeGuard[Collection[Any]]:
    return isinstance(value, Sequence | set | frozenset)


def plain_sample(sample: Sample, reads: Sequence[str]) -> Sample:
    """Return the sample with the fields that the profile reads, and no others, all of them plain.

    What cannot be a ground truth is that sample's `bad_ground_truth`, and no other's. What cannot
    travel as metadata is left out.
    """
    kept: dict[str, Any] = {"id": sample.id, "response": sample.response}
    if isinstance(cast(object, sample.response), str):
        kept["response"] = str(sample.response)  # numpy's texts are of a class of their own
    if "ground_truth" in reads:
        kept["ground_truth"] = plain_truth(sample.ground_truth)
    if "prompt" in reads:
        kept["prompt"] = sample.prompt
    if "group_id" in reads and sample.group_id is not None:
        kept["group_id"] = str(sample.group_id)
    if "signals" in reads:
        kept["signals"] = what_is_plain(sample.signals)
    if "metadata" in reads:
        kept["metadata"] = what_is_plain(sample.metadata)
    if "profile" in reads and sample.profile is not None:
        kept["profile"] = str(sample.profile)
    return Sample(**kept)


def plain_truth(value: Any) -> Any:
    """Return a ground truth as scorers read it; of what can be none, a description that the server
    answers with `bad_ground_truth`."""
    try:
        found = plain(value)
    except TypeError as error:
        return {"unreadable": str(error)}
    return plain_ground_truth(found) if is_readable(found) else found


def what_is_plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that JSON can carry, under their names; the others are left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        try:
            found[str(name)] = plain(value)
        except TypeError:
            continue
    return found
