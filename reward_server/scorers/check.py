"""Check that a class is a scorer's, before it is called, and that what it built is a scorer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import RunsIn

PLACES = get_args(RunsIn)
# What the engine calls, by where the scorer runs.
METHODS = {"inline": ("score",), "worker": ("score",), "model": ("inputs", "judge", "use")}


def check_class(name: str, kind: object) -> None:
    """See that a name from a profile leads to a scorer's class, and to nothing else to be called.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(kind, type):
        raise ConfigError(f"scorer {name!r} is {_article(type(kind).__name__)}, not a class")
    runs_in = getattr(kind, "runs_in", None)
    if runs_in is None:
        raise ConfigError(
            f"scorer {name!r} is no scorer: its class has no runs_in; say one of "
            f"{', '.join(PLACES)}"
        )
    if runs_in not in PLACES:
        raise ConfigError(
            f"scorer {name!r} has runs_in {runs_in!r}; say one of {', '.join(PLACES)}"
        )
    missing = [each for each in METHODS[runs_in] if not callable(getattr(kind, each, None))]
    if missing:
        raise ConfigError(f"scorer {name!r} is no scorer: it has no method {missing[0]!r}")


def check_scorer(name: str, scorer: Any) -> None:
    """See that a scorer says of itself all that the server must know.

    Raises:
        ConfigError: something is missing or of a wrong form. The message says what to write.
    """
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
    reads = getattr(scorer, "reads", None)
    fields = Sample.__struct_fields__
    if isinstance(reads, str) or not isinstance(reads, Sequence):
        raise ConfigError(
            f"scorer {name!r} has reads {reads!r}; give its class a tuple of fields, such as "
            f'reads = ("response",), out of {", ".join(fields)}'
        )
    if unknown := [field for field in reads if field not in fields]:
        raise ConfigError(
            f"scorer {name!r} reads {unknown}, which no sample has; the fields are "
            f"{', '.join(fields)}"
        )


def _is_range(bounds: object) -> bool:
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        return False
    numbers = [one for one in bounds if one is not None]
    if not all(isinstance(one, int | float) and not math.isnan(one) for one in numbers):
        return False
    return len(numbers) < 2 or numbers[0] <= numbers[1]


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"
