"""Configuration of disputable choices in comparing two answers; nothing here is guessed.

docs/math.md says what each value accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast, get_args

from msgspec import Meta, Struct

from touchstone_rewards.reward_server.scorers.math.extract import PLACES, Place

Boxes = Literal["last", "all_agree"]
Rounding = Literal["exact", "ground_truth_precision"]
Order = Literal["any", "ordered"]
Units = Literal["optional", "required", "ignored"]
Percent = Literal["either", "value"]
Angles = Literal["degrees_optional", "strict"]
Retractions = Literal["refuse", "ignore"]
Evaluated = Literal["optional", "required"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "boxes": get_args(Boxes),
    "rounding": get_args(Rounding),
    "order": get_args(Order),
    "units": get_args(Units),
    "percent": get_args(Percent),
    "angles": get_args(Angles),
    "retractions": get_args(Retractions),
    "evaluated": get_args(Evaluated),
}


class Policy(Struct, frozen=True, kw_only=True):
    """Strictness of a verdict."""

    answer_from: Annotated[
        tuple[Place, ...], Meta(description="places to look for the answer, in this order")
    ] = PLACES
    boxes: Annotated[
        Boxes, Meta(description="of several boxes the last one counts, or every one must be right")
    ] = "last"
    rounding: Annotated[
        Rounding, Meta(description="whether an answer rounded like the ground truth is accepted")
    ] = "exact"
    order: Annotated[
        Order, Meta(description="whether the values of a bare list must be in order")
    ] = "any"
    units: Annotated[
        Units, Meta(description="whether a unit may be missing, must be there, or is ignored")
    ] = "optional"
    percent: Annotated[
        Percent, Meta(description="with either, 20% equals both 0.2 and 20; with value, only 0.2")
    ] = "either"
    angles: Annotated[
        Angles, Meta(description="degrees_optional: 90° is 90; strict: it is only π/2")
    ] = "degrees_optional"
    retractions: Annotated[
        Retractions, Meta(description="an answer that the response takes back is wrong, or counts")
    ] = "refuse"
    evaluated: Annotated[
        Evaluated, Meta(description="whether an integer ground truth needs an integer written out")
    ] = "optional"
    decimal_comma: Annotated[
        bool, Meta(description="an answer's comma may be a decimal point, as its language has it")
    ] = True


DEFAULT = Policy()


def _places(value: Any) -> tuple[Place, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"answer_from is {value!r}; expected a list of {', '.join(PLACES)}")
    places = list(cast("Sequence[Any]", value))
    unknown = [place for place in places if place not in PLACES]
    if unknown:
        raise ValueError(f"answer_from has {unknown[0]!r}; the places are {', '.join(PLACES)}")
    return tuple(places)


def make_policy(config: dict[str, Any]) -> Policy:
    """Return the validated policy for `config`; missing keys have their defaults.

    Raises:
        TypeError: a key does not exist.
        ValueError: the value of a key is invalid.

    Example:
        >>> make_policy({"units": "required"}).units
        'required'
    """
    known = Policy.__struct_fields__
    for key, value in config.items():
        if key not in known:
            raise TypeError(f"math has no config key {key!r}; it has {', '.join(known)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise ValueError(f"{key} is {value!r}; expected one of {', '.join(_CHOICES[key])}")
        if key == "decimal_comma" and not isinstance(value, bool):
            raise ValueError(f"decimal_comma is {value!r}; expected true or false")
    if "answer_from" in config:
        config = {**config, "answer_from": _places(config["answer_from"])}
    return Policy(**config)
