"""Check that a class is a scorer before it is called, and that the object it builds is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, NamedTuple, TypeGuard, get_args

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import RunsIn, Scorer

PLACES = get_args(RunsIn)
FIELDS = Sample.__struct_fields__
# Default limit on the members of a group.
MAX_MEMBERS = 1024
# The default of an attribute that a class must have.
REQUIRED = object()
# Methods called by the engine, by the place where the scorer runs.
METHODS = dict.fromkeys(PLACES, ("score",)) | {"model": ("inputs", "judge", "use")}


def check_class(name: str, kind: object) -> None:
    """Check that a name from a profile refers to a scorer class.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(kind, type):
        raise ConfigError(
            f"scorer {name!r} is {_article(type(kind).__name__)}, neither a class nor a function"
        )
    runs_in = getattr(kind, "runs_in", None)
    if runs_in is None:
        raise ConfigError(
            f"scorer {name!r} is not a scorer: its class has no runs_in; set one of "
            f"{', '.join(PLACES)}"
        )
    _check_kind(name, kind, runs_in)


def check_scorer(name: str, scorer: Any) -> Scorer:
    """Return the scorer if it declares everything that the server needs.

    Attributes that its class may leave out are set to their defaults, on the class.

    Raises:
        ConfigError: an attribute is missing or malformed. The message says how to write it.
    """
    _check_kind(name, scorer, getattr(scorer, "runs_in", None))
    for attribute, allowed in (ALL | BY_KIND[scorer.runs_in]).items():
        if allowed.default is not REQUIRED and not hasattr(scorer, attribute):
            _set_default(name, scorer, attribute, allowed.default)
        value = getattr(scorer, attribute, None)
        if value is not allowed.default and not allowed.fits(value):
            raise ConfigError(f"scorer {name!r} has {attribute} {value!r}; {allowed.advice}")
    if unknown := [field for field in scorer.reads if field not in FIELDS]:
        raise ConfigError(
            f"scorer {name!r} reads {unknown}, which no sample has; the fields are "
            f"{', '.join(FIELDS)}"
        )
    return scorer


def _set_default(name: str, scorer: object, attribute: str, default: object) -> None:
    try:
        setattr(type(scorer), attribute, default)
    except (AttributeError, TypeError) as error:
        raise ConfigError(
            f"scorer {name!r} has no {attribute} and its class takes no attributes; "
            f"give the class {attribute} = {default!r}"
        ) from error


def _check_kind(name: str, scorer: Any, runs_in: object) -> None:
    """Check that the scorer has the method by which its kind is called."""
    if runs_in not in PLACES:
        raise ConfigError(
            f"scorer {name!r} has runs_in {runs_in!r}; set one of {', '.join(PLACES)}"
        )
    missing = [each for each in METHODS[runs_in] if not callable(getattr(scorer, each, None))]
    if missing:
        raise ConfigError(f"scorer {name!r} is not a scorer: it has no method {missing[0]!r}")
    if runs_in == "model":
        return
    is_async = iscoroutinefunction(scorer.score)
    if is_async != (runs_in == "remote"):
        wanted = "async def" if runs_in == "remote" else "def"
        raise ConfigError(
            f"scorer {name!r} has runs_in {runs_in!r}, so its method 'score' must be a plain "
            f'{wanted}; runs_in = "remote" is for async ones'
        )


def _is_range(bounds: object) -> bool:
    if not _is_sequence(bounds) or len(bounds) != 2:
        return False
    numbers = [one for one in bounds if one is not None]
    if not all(isinstance(one, int | float) and not math.isnan(one) for one in numbers):
        return False
    return len(numbers) < 2 or numbers[0] <= numbers[1]


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _are_texts(value: object) -> bool:
    return _is_sequence(value) and all(isinstance(one, str) for one in value)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _has_label(value: object) -> bool:
    return isinstance(getattr(value, "label", None), str)


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


class Declaration(NamedTuple):
    """What an attribute of a scorer may be besides its default, and the advice if it is not."""

    fits: Callable[[Any], bool]
    advice: str
    default: Any = REQUIRED


ALL = {
    "version": Declaration(
        _is_text,
        'give its class a str, such as version = "1", and change it whenever a score can change',
    ),
    "range": Declaration(
        _is_range,
        "give its class the least and the greatest score, such as range = (0.0, 1.0), with None "
        "for no bound",
    ),
    "reads": Declaration(
        _is_sequence,
        'give its class a tuple of fields, such as reads = ("response",), out of '
        f"{', '.join(FIELDS)}",
    ),
    "sees_turns": Declaration(
        _is_bool, "set True if it reads responses that are lists of messages, else False", False
    ),
    "any_truth": Declaration(
        _is_bool, "set True if it takes ground truths of any type, else False", False
    ),
    "languages": Declaration(
        _are_texts,
        'give it the languages that it reads, such as ["English"], or None for any',
        None,
    ),
}
_BATCH = Declaration(
    _is_bool, "set True if it must get all samples of a task at once, else False", False
)
_DETERMINISTIC = Declaration(
    _is_bool, "set True if the same fields always get the same score, else False", False
)
BY_KIND = {
    "inline": {"batch": _BATCH},
    "worker": {"batch": _BATCH, "deterministic": _DETERMINISTIC},
    "model": {"model": Declaration(_has_label, "give it the ModelConfig of its model")},
    "remote": {
        "deterministic": _DETERMINISTIC,
        "max_in_flight": Declaration(
            partial(_is_count, least=1),
            "give its class the most samples to score at a time, such as max_in_flight = 64",
        ),
    },
    "group": {
        "of": Declaration(_are_texts, "give it a tuple of keys of the profile", ()),
        "asks": Declaration(_is_sequence, "give it a tuple of scorers to ask", ()),
        "model": Declaration(_has_label, "give it the ModelConfig of its model, or None", None),
        "max_members": Declaration(
            partial(_is_count, least=2), "set an int of at least 2", MAX_MEMBERS
        ),
    },
}
