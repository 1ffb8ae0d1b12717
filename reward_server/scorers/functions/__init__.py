"""Use plain functions as scorers: your own, and by prefix those written for other trainers.

A sync function runs in a killable worker, an async one on the event loop, and one that reads
`group` sees whole groups. See docs/functions.md.
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
    """Check that the function is defined in the package that the name allows.

    A module's namespace also holds its imports, and `os.system` is not a reward function.
    """
    own = original(function)
    module = getattr(own, "__module__", None) or type(own).__module__
    package = parted(name).module.partition(".")[0] if ":" in name else module.partition(".")[0]
    if module.partition(".")[0] != package:
        raise ConfigError(
            f"scorer {name!r} is defined in {module!r}, not in {package!r}; name the module "
            "that defines it, or wrap it in a function of your own"
        )


def is_function(thing: object) -> bool:
    """Tell whether a name from a profile refers to a function or callable that scores."""
    return callable(thing) and not isinstance(thing, type)


def function_scorer(
    name: str, prefix: str, function: Callable[..., Any], config: Mapping[str, Any]
) -> FunctionScorers:
    """Return a scorer that calls `function`, which the profile refers to by `name`.

    `prefix`: the trainer that it was written for, a key of `FOREIGN`, or "" for a function of ours.

    Example:
        >>> function_scorer("mine:short", "", lambda response, most=9: len(response) <= most, {})

    Raises:
        ConfigError: a parameter that nothing fills, a key of `config` that is not a parameter, or a
            function defined in another package.
    """
    _check_home(name, function)
    form = (FOREIGN[prefix] if prefix else native_form)(name, function, config)
    if form.whole_group:
        return GroupFunctionScorer(form)
    return AsyncFunctionScorer(form) if is_async(form.function) else FunctionScorer(form)
