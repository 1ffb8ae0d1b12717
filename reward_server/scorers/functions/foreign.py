"""Functions written for other trainers, called as those call them.

One entry of `FOREIGN` for each prefix. A function gets what it asks for by name and no more; what
it returns is brought into our form. Each form's docstring names where the trainer calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample, is_object
from touchstone_rewards.reward_server.scorers.functions.form import (
    Form,
    Getter,
    MissingField,
    Parameters,
    as_chat,
    checked_config,
    parameters_of,
    plain_prompt,
    with_constants,
)
from touchstone_rewards.reward_server.scorers.functions.plain_form import (
    COLUMN_READS,
    Config,
    plain_form,
    takes,
)
from touchstone_rewards.reward_server.scorers.functions.rollouts import (
    easyr1_form,
    verifiers_form,
)
from touchstone_rewards.reward_server.turn_texts import response_text

# A column of this name that the metadata lacks is the ground truth.
TRUTH_COLUMNS = ("solution", "ground_truth", "answer", "label", "target", "reference", "gold")
METADATA = "metadata."
# What TRL's trainer passes beside columns; there is no trainer here.
OF_THE_TRAINER = ("trainer_state", "log_extra", "log_metric", "environments")


def trl_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return how a reward function of TRL is called: `f(completions, prompts, **columns) -> list`.

    Completions are chats (`[{"role": "assistant", "content": …}]`) where the prompt is one, or
    where the function's annotation or `completions: chat` in the config says so; else texts. Other
    parameters are columns: from the metadata, and the ground truth for one of `TRUTH_COLUMNS` that
    the metadata lacks. `columns: {gold: ground_truth}` in the config says where another one is. A
    function that takes no completions is one that returns the reward function; then the config is
    its arguments.

    Source: `GRPOTrainer._calculate_rewards` of TRL (trl/trainer/grpo_trainer.py).
    """
    form = str(config.get("completions", "")) or _form_by_annotation(function)
    if form not in ("", "chat", "text"):
        raise ConfigError(f"scorer {name!r}: completions is {form!r}; say chat or text")
    config = {key: value for key, value in config.items() if key != "completions"}
    parameters = parameters_of(name, function)
    if not parameters.any_other and not {"completions", "completion_ids"} & {*parameters.names}:
        made_from = {key: value for key, value in config.items() if key != "columns"}
        function = _made_by(name, function, made_from, parameters)
        parameters = parameters_of(name, function)
        config = {key: value for key, value in config.items() if key == "columns"}

    def completion(sample: Sample) -> Any:
        chat = form == "chat" or (form != "text" and isinstance(sample.prompt, list))
        if not chat:
            return response_text(sample.response)
        return as_chat(sample.response)

    fields = {"completions": completion, "prompts": _needed_prompt("prompts" in parameters.needed)}
    called = _column_form(name, function, config, parameters, fields)
    return replace(called, sees_turns=form != "text")


def ms_swift_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return how a reward of ms-swift is called: `orm(completions, **columns) -> list`, of texts.

    A class is made first: the config has its parameters by name, and is `args` where it takes that.

    `columns` in the config is as for TRL.

    Source: `compute_rewards_per_func` of ms-swift (swift/rl_core/grpo_algorithm.py).
    """
    if isinstance(function, type):
        own = {key: value for key, value in config.items() if key != "columns"}
        taken = parameters_of(name, function)
        given = {key: value for key, value in own.items() if key in taken.names}
        if taken.any_other or "args" in taken.names:
            given["args"] = SimpleNamespace(**own)
        elif unknown := [key for key in own if key not in given]:
            raise ConfigError(f"scorer {name!r} has no parameter {unknown[0]!r} for its config")
        try:
            function = function(**given)
        except (TypeError, ValueError, AttributeError, AssertionError, ImportError) as error:
            raise ConfigError(
                f"scorer {name!r}: {type(error).__name__}: {error}; its config becomes its args"
            ) from error
        config = {key: value for key, value in config.items() if key == "columns"}
    fields: dict[str, Getter] = {"completions": lambda sample: sample.response}
    return _column_form(name, function, config, parameters_of(name, function), fields)


def _column_form(
    name: str,
    function: Callable[..., Any],
    config: Config,
    parameters: Parameters,
    known: Mapping[str, Getter],
) -> Form:
    """A form whose parameters are `known` ones and columns, a list each."""
    fields = {each: get for each, get in known.items() if takes(parameters, each)}
    config = dict(config)
    fields |= _told_columns(name, config.pop("columns", {}), parameters)
    constants = checked_config(name, config, parameters, list(fields))
    absent = [each for each in OF_THE_TRAINER if each in parameters.needed]
    if absent:
        raise ConfigError(f"scorer {name!r} needs {absent[0]!r}, which only a trainer has")
    columns = [each for each in parameters.needed if each not in fields and each not in constants]
    for each in columns:
        fields[each] = _column(each, truth=each in TRUTH_COLUMNS)
    truths = [each for each in TRUTH_COLUMNS if takes(parameters, each)]
    return Form(
        name,
        with_constants(function, constants),
        fields,
        COLUMN_READS,
        batch=True,
        columns=True,
        truths=tuple(each for each in truths if each not in fields and each not in constants),
        takes=None if parameters.any_other else frozenset(parameters.names),
        constants=constants,
    )


def verl_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return how a `compute_score` of verl is called: (data_source, solution_str, ground_truth,
    extra_info), as far as it takes them; a batched one has their plurals. It returns a number or a
    dict with `score`, whose other keys explain.

    `data_source` and `extra_info` are of the metadata, which is `extra_info` where it has none.

    Source: `NaiveRewardManager` of verl (verl/experimental/reward_loop/reward_manager/naive.py).
    """
    parameters = parameters_of(name, function)
    single: dict[str, Getter] = {
        "data_source": lambda sample: sample.metadata.get("data_source"),
        "solution_str": lambda sample: sample.response,
        "ground_truth": _needed_truth("ground_truth" in parameters.needed),
        "extra_info": lambda sample: sample.metadata.get("extra_info", sample.metadata),
    }
    plural = {f"{each}s": get for each, get in single.items()}
    batch = "solution_strs" in parameters.names
    return plain_form(name, function, config, parameters, plural if batch else single, batch)


def openrlhf_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return how a `reward_func` of OpenRLHF is called: (queries, prompts, labels), a list each. It
    returns rewards, or a dict of them with `extra_logs`, which explain.

    Source: `SingleTurnAgentExecutor` of OpenRLHF (openrlhf/utils/agent.py).
    """
    parameters = parameters_of(name, function)
    known: dict[str, Getter] = {
        "queries": lambda sample: _text_prompt(sample) + sample.response,
        "prompts": _text_prompt,
        "labels": lambda sample: sample.ground_truth,
    }
    return plain_form(name, function, config, parameters, known, batch=True)


FOREIGN: dict[str, Callable[[str, Callable[..., Any], Config], Form]] = {
    "trl": trl_form,
    "verl": verl_form,
    "easyr1": easyr1_form,
    "openrlhf": openrlhf_form,
    "ms_swift": ms_swift_form,
    "verifiers": verifiers_form,
}


def _form_by_annotation(function: Callable[..., Any]) -> str:
    """Whether the function says itself that it takes chats."""
    said = str(getattr(function, "__annotations__", {}).get("completions", ""))
    return "chat" if said.lower().replace("typing.", "").startswith("list[list[") else ""


def _made_by(
    name: str, maker: Callable[..., Any], config: Config, parameters: Parameters
) -> Callable[..., Any]:
    """The reward function that `maker` returns for this config."""
    constants = checked_config(name, config, parameters, ())
    if missing := [each for each in parameters.needed if each not in constants]:
        raise ConfigError(
            f"scorer {name!r} takes no completions, so it is called for a reward function, and "
            f"config lacks its {missing[0]!r}"
        )
    made = maker(**constants)
    if not callable(made):
        raise ConfigError(f"scorer {name!r} takes no completions and returns no function either")
    return made


def _told_columns(name: str, told: Any, parameters: Parameters) -> dict[str, Getter]:
    """The getters of the columns that the config says the place of."""
    if not is_object(told):
        raise ConfigError(f"scorer {name!r}: columns is {told!r}; say {{column: ground_truth}}")
    getters: dict[str, Getter] = {}
    for column, place in told.items():
        if not takes(parameters, column):
            raise ConfigError(f"scorer {name!r}: columns names {column!r}, which it does not take")
        if place == "ground_truth":
            getters[column] = _needed_truth(True)
        elif str(place).startswith(METADATA):
            getters[column] = _column(str(place).removeprefix(METADATA), truth=False)
        else:
            raise ConfigError(
                f"scorer {name!r}: column {column!r} is {place!r}; say ground_truth or "
                "metadata.NAME"
            )
    return getters


def _column(name: str, *, truth: bool) -> Getter:
    """The column of this name; the ground truth may stand for one that the metadata lacks."""

    def get(sample: Sample) -> Any:
        if name in sample.metadata:
            return sample.metadata[name]
        if truth and sample.ground_truth is not None:
            return sample.ground_truth
        where = "neither in metadata nor in ground_truth" if truth else "not in metadata"
        raise MissingField(
            f"column {name!r} is {where}; send it, or say where it is by `columns` in config"
        )

    return get


def _needed_truth(needed: bool) -> Getter:
    def get(sample: Sample) -> Any:
        if needed and sample.ground_truth is None:
            raise MissingField("ground_truth is not there")
        return sample.ground_truth

    return get


def _needed_prompt(needed: bool) -> Getter:
    def get(sample: Sample) -> Any:
        if needed and sample.prompt is None:
            raise MissingField("prompt is not there")
        return plain_prompt(sample)

    return get


def _text_prompt(sample: Sample) -> str:
    if sample.prompt is None or isinstance(sample.prompt, str):
        return sample.prompt or ""
    raise MissingField("prompt came as a chat; send it as the text that the model read")
