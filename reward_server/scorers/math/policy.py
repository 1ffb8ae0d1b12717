"""Configuration of disputable choices in comparing two answers; nothing here is guessed.

docs/math.md says what each value accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

from msgspec import Struct

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
    """Strictness of a verdict. `answer_from`: the places to search for the answer, in order."""

    answer_from: tuple[Place, ...] = PLACES
    boxes: Boxes = "last"
    rounding: Rounding = "exact"
    order: Order = "any"
    units: Units = "optional"
    percent: Percent = "either"
    angles: Angles = "degrees_optional"
    retractions: Retractions = "refuse"
    evaluated: Evaluated = "optional"
    decimal_comma: bool = True


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
