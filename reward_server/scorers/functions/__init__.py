"""Plain functions as scorers: yours as it is, and those written for other trainers by prefix.

In: what a profile names, and its config. Out: a scorer. A sync function runs in a killable worker,
an async one on the event loop, one that reads `group` over whole groups. See docs/functions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.scorers.functions.foreign import FOREIGN
from touchstone_rewards.reward_server.scorers.functions.native import native_form
from touchstone_rewards.reward_server.scorers.functions.scorer import (
    AsyncFunctionScorer,
    FunctionScorer,
    GroupFunctionScorer,
    is_async,
    original,
)
from touchstone_rewards.reward_server.scorers.plugins import parted

FunctionScorers = FunctionScorer | AsyncFunctionScorer | GroupFunctionScorer


def _check_home(name: str, function: Callable[..., Any]) -> None:
    """See that the package that the name allows is the one that defined the function.

    A module's namespace holds what it imports too, and `os.system` is no reward function.
    """
    own = original(function)
    module = getattr(own, "__module__", None) or type(own).__module__
    package = parted(name).module.partition(".")[0] if ":" in name else module.partition(".")[0]
    if module.partition(".")[0] != package:
        raise ConfigError(
            f"scorer {name!r} is defined in {module!r}, not in {package!r}; name it where it is "
            "defined, or write a function around it"
        )


def is_function(thing: object) -> bool:
    """Tell whether a name from a profile leads to something to be called for a score."""
    return callable(thing) and not isinstance(thing, type)


def function_scorer(
    name: str, prefix: str, function: Callable[..., Any], config: Mapping[str, Any]
) -> FunctionScorers:
    """Return a scorer that calls `function`, which the profile calls `name`.

    `prefix`: the trainer that it was written for, a key of `FOREIGN`; empty for a function of ours.

    Example:
        >>> function_scorer("mine:short", "", lambda response, most=9: len(response) <= most, {})

    Raises:
        ConfigError: a parameter that nothing fills, a key of `config` that is no parameter, or a
            function that another package defined.
    """
    _check_home(name, function)
    form = (FOREIGN[prefix] if prefix else native_form)(name, function, config)
    if form.whole_group:
        return GroupFunctionScorer(form)
    return AsyncFunctionScorer(form) if is_async(form.function) else FunctionScorer(form)
