"""Call functions that receive a sample as one dict: those of EasyR1 and verifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.functions.form import (
    Form,
    Getter,
    as_chat,
    parameters_of,
    plain_prompt,
)
from touchstone_rewards.reward_server.scorers.functions.plain_form import (
    Config,
    plain_form,
    score_of_a_dict,
)


def easyr1_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return the calling form of an EasyR1 `compute_score`.

    It receives `reward_inputs`, a list of dicts, or a single `reward_input`, and returns a dict for
    each, whose `overall` is the score. An input has `response`, `ground_truth`, and
    `response_length` if the metadata has one.

    Source: `BatchFunctionRewardManager` of EasyR1 (verl/workers/reward/function.py).
    """
    parameters = parameters_of(name, function)
    batch = "reward_inputs" in parameters.names

    def reward_input(sample: Sample) -> dict[str, Any]:
        length = sample.metadata.get("response_length")
        known = {} if length is None else {"response_length": length}
        return {"response": sample.response, "ground_truth": sample.ground_truth, **known}

    known: dict[str, Getter] = {"reward_inputs" if batch else "reward_input": reward_input}
    form = plain_form(name, function, config, parameters, known, batch)

    def read(returned: Any) -> Any:
        if batch:
            return [score_of_a_dict(one, "overall") for one in returned]
        return score_of_a_dict(returned, "overall")

    return replace(form, read=read)


def verifiers_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return the calling form of a reward function in a verifiers rubric.

    It receives those of prompt, completion, answer, state, task and info that it names; with plural
    names it sees a group. Prompt and completion are chats, as in verifiers; the answer is the
    ground truth, with numbers as text. A `parser` parameter receives the object that the config's
    `parser` names in the function's module, or by default verifiers' `Parser`.

    Source: `Rubric._call_individual_reward_func` of verifiers 0.1 (verifiers/rubrics/rubric.py).
    """
    parameters = parameters_of(name, function)
    single: dict[str, Getter] = {
        "prompt": lambda sample: _rollout(sample)["prompt"],
        "completion": lambda sample: _rollout(sample)["completion"],
        "answer": lambda sample: _rollout(sample)["answer"],
        "task": lambda sample: _rollout(sample)["task"],
        "info": lambda sample: _rollout(sample)["info"],
        "state": _rollout,
    }
    plural = {f"{each}s": get for each, get in single.items()}
    if "parser" in parameters.needed or "parser" in config:
        config = {**config, "parser": _parser(name, function, config.get("parser"))}
    batch = any(each in plural for each in parameters.names)
    known = plural if batch else single
    if batch and parameters.any_other:
        known = {each: get for each, get in plural.items() if each in parameters.names}
    form = plain_form(name, function, config, parameters, known, batch, whole_group=batch)
    return replace(form, sees_turns=True)


def _parser(name: str, function: Callable[..., Any], wanted: object) -> Any:
    """Return the parser that a rubric would pass.

    Raises:
        ConfigError: it is not available.
    """
    source = "verifiers" if wanted is None else function.__module__
    try:
        module: Any = import_module(source)
        return module.Parser() if wanted is None else getattr(module, str(wanted))
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"scorer {name!r} takes a parser ({error}); install verifiers, or name one of its "
            "module with `parser` in config"
        ) from error


def _rollout(sample: Sample) -> dict[str, Any]:
    """Return a sample as the state of a verifiers rollout."""
    prompt = plain_prompt(sample)
    if not isinstance(prompt, list):
        prompt = [{"role": "user", "content": prompt or ""}]
    truth = sample.ground_truth
    info = sample.metadata.get("info", sample.metadata)
    return {
        "prompt": prompt,
        "completion": as_chat(sample.response),
        "answer": "" if truth is None else str(truth) if isinstance(truth, int | float) else truth,
        "task": sample.metadata.get("task", "default"),
        "info": info,
    }
