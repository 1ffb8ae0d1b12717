"""Convert values of a trainer's batch to types that JSON can represent.

Pure functions. Values of numpy and torch are converted by their `tolist`, without importing these
libraries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeGuard, cast

from touchstone_rewards.reward_server.schemas import Sample, is_readable, plain_ground_truth

# Deeper than rows of real datasets, and far below the interpreter's recursion limit.
MAX_DEPTH = 50


def plain(value: Any, depth: int = 0) -> Any:
    """Convert a value to str, int, float, bool, None, lists and dicts.

    Example:
        >>> plain({"level": (1, 2)})
        {'level': [1, 2]}

    Raises:
        TypeError: the value contains another type, or is nested too deeply.
    """
    if value is None or type(value) in (str, bool, int, float):
        return value
    if depth > MAX_DEPTH:
        raise TypeError(f"nested more than {MAX_DEPTH} levels deep")
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
    """Return a sample with only the fields that the profile reads, converted by `plain`.

    An invalid ground truth is sent so that the server answers this sample with `bad_ground_truth`.
    Metadata that JSON cannot represent is omitted.
    """
    kept: dict[str, Any] = {"id": sample.id, "response": sample.response}
    if isinstance(cast(object, sample.response), str):
        kept["response"] = str(sample.response)  # numpy.str_ is a subclass of str
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
    """Return a ground truth as scorers read it. For an invalid one, return an object that the
    server answers with `bad_ground_truth`."""
    try:
        found = plain(value)
    except TypeError as error:
        return {"unreadable": str(error)}
    return plain_ground_truth(found) if is_readable(found) else found


def what_is_plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values by `plain`, and omit those that JSON cannot represent."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        try:
            found[str(name)] = plain(value)
        except TypeError:
            continue
    return found
