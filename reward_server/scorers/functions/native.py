"""Call functions of our own form: each parameter is named after a
sample field, or set by config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.functions.form import (
    Form,
    Getter,
    checked_config,
    parameters_of,
    plain_prompt,
    with_constants,
)

# Getters for a single sample, by parameter name. `signals` is its own plural.
SINGULAR: dict[str, Getter] = {
    name: plain_prompt if name == "prompt" else attrgetter(name)
    for name in Sample.__struct_fields__
}
PLURAL = {
    "ids": "id",
    "responses": "response",
    "prompts": "prompt",
    "ground_truths": "ground_truth",
    "group_ids": "group_id",
    "metadatas": "metadata",
    "signals": "signals",
}
GROUP = "group"


def native_form(name: str, function: Callable[..., Any], config: Mapping[str, Any]) -> Form:
    """Return the calling form of a function of ours.

    Raises:
        ConfigError: a parameter that nothing fills, a mix of singular and plural names, or a key of
            `config` that is not a parameter.
    """
    parameters = parameters_of(name, function)
    plural = [each for each in parameters.names if each in PLURAL and each not in SINGULAR]
    singular = [each for each in parameters.names if each in SINGULAR and each not in PLURAL]
    if plural and singular:
        raise ConfigError(
            f"scorer {name!r} takes {plural[0]!r} for all samples and {singular[0]!r} for one; "
            f"name them all in the plural ({', '.join(PLURAL)}) or all in the singular"
        )
    fields = {
        each: SINGULAR[PLURAL.get(each, each)]
        for each in parameters.names
        if each in SINGULAR or each in PLURAL
    }
    whole_group = GROUP in parameters.names
    filled = [*fields, *([GROUP] if whole_group else [])]
    constants = checked_config(name, config, parameters, filled)
    empty = [each for each in parameters.needed if each not in filled and each not in constants]
    known = ", ".join((*SINGULAR, GROUP))
    if empty:
        raise ConfigError(
            f"scorer {name!r}: nothing fills its parameter {empty[0]!r}; known names are {known}; "
            "any other needs a default or a value in config. A function for another trainer "
            "takes a prefix, as in trl:module:function"
        )
    if not filled:
        raise ConfigError(
            f"scorer {name!r} uses no field of a sample; its parameters may be {known}"
        )
    reads = [PLURAL.get(each, each) for each in fields] + (["response"] if whole_group else [])
    return Form(
        name,
        with_constants(function, constants),
        fields,
        reads=tuple(each for each in Sample.__struct_fields__ if each in reads and each != "id"),
        batch=bool(plural),
        whole_group=whole_group,
        group_parameter=GROUP if whole_group else "",
    )
