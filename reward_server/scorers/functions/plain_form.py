"""Call functions with fixed arguments and config; they return a number or a dict with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import is_list, is_object
from touchstone_rewards.reward_server.scorers.functions.form import (
    Form,
    Getter,
    Parameters,
    checked_config,
    with_constants,
)

Config = Mapping[str, Any]
COLUMN_READS = ("response", "prompt", "ground_truth", "metadata")


def plain_form(
    name: str,
    function: Callable[..., Any],
    config: Config,
    parameters: Parameters,
    known: Mapping[str, Getter],
    batch: bool,
    whole_group: bool = False,
) -> Form:
    """Return a form whose parameters are the `known` ones and those in
    config, without any others."""
    fields = {each: get for each, get in known.items() if takes(parameters, each)}
    constants = checked_config(name, config, parameters, list(fields))
    empty = [each for each in parameters.needed if each not in fields and each not in constants]
    if empty or not fields:
        which = f"needs {empty[0]!r}, which is not" if empty else "takes nothing that is"
        raise ConfigError(
            f"scorer {name!r} {which} passed to such functions; they get "
            f"{', '.join(known)}, and the keys of config"
        )
    return Form(
        name,
        with_constants(function, constants),
        fields,
        COLUMN_READS,
        batch=batch,
        takes=None,
        read=rewards_of_a_dict if batch else score_of_a_dict,
        whole_group=whole_group,
    )


def takes(parameters: Parameters, name: str) -> bool:
    return parameters.any_other or name in parameters.names


def score_of_a_dict(returned: Any, score: str = "score") -> Any:
    if not is_object(returned):
        return returned
    rest = {key: value for key, value in returned.items() if key != score}
    return returned.get(score, returned), rest


def rewards_of_a_dict(returned: Any) -> Any:
    """Return a number or a (number, explanation) pair per sample, from
    a list or a dict of lists."""
    if not is_object(returned) or "rewards" not in returned:
        listed = _listed(returned)
        return [score_of_a_dict(one) for one in listed] if is_list(listed) else listed
    rewards = _listed(returned["rewards"])
    if not is_list(rewards):
        return [rewards]
    told = returned.get("extra_logs")
    logs = {key: _listed(value) for key, value in told.items()} if is_object(told) else {}
    return [
        (one, {key: _at(log, at) for key, log in logs.items()}) for at, one in enumerate(rewards)
    ]


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _at(log: Any, place: int) -> Any:
    return log[place] if is_list(log) and place < len(log) else log
