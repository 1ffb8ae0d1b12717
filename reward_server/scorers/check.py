"""Check that a class is a scorer before it is called, and that the object it builds is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import Any, TypeGuard, get_args

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import RunsIn, Scorer

PLACES = get_args(RunsIn)
# Default limit on the members of a group.
MAX_MEMBERS = 1024
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

    Raises:
        ConfigError: an attribute is missing or malformed. The message says how to write it.
    """
    _check_kind(name, scorer, getattr(scorer, "runs_in", None))
    version = getattr(scorer, "version", None)
    if not isinstance(version, str) or not version:
        raise ConfigError(
            f"scorer {name!r} has version {version!r}; give its class a str, such as version = "
            '"1", and change it whenever a score can change'
        )
    bounds = getattr(scorer, "range", None)
    if not _is_range(bounds):
        raise ConfigError(
            f"scorer {name!r} has range {bounds!r}; give its class the least and the greatest "
            "score, such as range = (0.0, 1.0), with None for no bound"
        )
    reads: Any = getattr(scorer, "reads", None)
    fields = Sample.__struct_fields__
    if not _is_sequence(reads):
        raise ConfigError(
            f"scorer {name!r} has reads {reads!r}; give its class a tuple of fields, such as "
            f'reads = ("response",), out of {", ".join(fields)}'
        )
    if unknown := [field for field in reads if field not in fields]:
        raise ConfigError(
            f"scorer {name!r} reads {unknown}, which no sample has; the fields are "
            f"{', '.join(fields)}"
        )
    _check_own_attributes(name, scorer)
    return scorer


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


def _check_own_attributes(name: str, scorer: Any) -> None:
    """Check the attributes that only one kind has."""
    if scorer.runs_in in ("worker", "remote"):
        if not hasattr(scorer, "deterministic"):
            try:
                object.__setattr__(scorer, "deterministic", False)
            except AttributeError as error:
                raise ConfigError(
                    f"scorer {name!r} has no deterministic and its class takes no attributes; "
                    "give the class deterministic = False"
                ) from error
        if not isinstance(scorer.deterministic, bool):
            raise ConfigError(
                f"scorer {name!r} has deterministic {scorer.deterministic!r}; set True if the same "
                "fields always get the same score, else False"
            )
    if scorer.runs_in == "group":
        _check_group(name, scorer)
    if scorer.runs_in == "remote":
        most = getattr(scorer, "max_in_flight", None)
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigError(
                f"scorer {name!r} has max_in_flight {most!r}; give its class the most samples to "
                "score at a time, such as max_in_flight = 64"
            )
    if scorer.runs_in == "model":
        config = getattr(scorer, "model", None)
        if not isinstance(getattr(config, "label", None), str):
            raise ConfigError(
                f"scorer {name!r} has model {config!r}; give it the ModelConfig of its model"
            )


def _check_group(name: str, scorer: Any) -> None:
    """Fill in the defaults of a group scorer, and check its attributes."""
    usually = {"of": (), "asks": (), "model": None, "max_members": MAX_MEMBERS}
    for attribute, usual in usually.items():
        if not hasattr(scorer, attribute):
            object.__setattr__(scorer, attribute, usual)
    if not _is_sequence(scorer.of) or not all(isinstance(key, str) for key in scorer.of):
        raise ConfigError(
            f"scorer {name!r} has of {scorer.of!r}; give it a tuple of keys of the profile"
        )
    most = scorer.max_members
    if isinstance(most, bool) or not isinstance(most, int) or most < 2:
        raise ConfigError(f"scorer {name!r} has max_members {most!r}; set an int of at least 2")


def _is_range(bounds: object) -> bool:
    if not _is_sequence(bounds) or len(bounds) != 2:
        return False
    numbers = [one for one in bounds if one is not None]
    if not all(isinstance(one, int | float) and not math.isnan(one) for one in numbers):
        return False
    return len(numbers) < 2 or numbers[0] <= numbers[1]


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"
