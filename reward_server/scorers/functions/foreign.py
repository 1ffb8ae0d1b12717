"""Call functions written for other trainers as those trainers call them.

`FOREIGN` has one entry per prefix. A function receives only the parameters it names, and its result
is converted to our form. Each form's docstring cites the trainer's code.
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

# A column with one of these names that the metadata lacks is filled with the ground truth.
TRUTH_COLUMNS = ("solution", "ground_truth", "answer", "label", "target", "reference", "gold")
METADATA = "metadata."
# Objects that TRL's trainer passes besides columns; here there is no trainer.
OF_THE_TRAINER = ("trainer_state", "log_extra", "log_metric", "environments")


def trl_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return the calling form of a TRL reward function:
    `f(completions, prompts, **columns) -> list`.

    Completions are chats (`[{"role": "assistant", "content": …}]`) if the prompt is a chat, or if
    the function's annotation or `completions: chat` in the config asks for it; otherwise texts.
    Other parameters are columns, filled from the metadata; a column in `TRUTH_COLUMNS` that the
    metadata lacks is filled with the ground truth. `columns: {gold: ground_truth}` in the config
    maps other names. A function without a `completions` parameter is a factory: it is called with
    the config and returns the reward function.

    Source: `GRPOTrainer._calculate_rewards` of TRL (trl/trainer/grpo_trainer.py).
    """
    form = str(config.get("completions", "")) or _form_by_annotation(function)
    if form not in ("", "chat", "text"):
        raise ConfigError(f"scorer {name!r}: completions is {form!r}; set chat or text")
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
    """Return the calling form of an ms-swift reward: `orm(completions, **columns) -> list`, with
    texts.

    A class is instantiated first; the config supplies its parameters by name, or its `args`.
    `columns` in the config works as for TRL.

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
    """Return a form whose parameters are the `known` ones and columns, each a list."""
    fields = {each: get for each, get in known.items() if takes(parameters, each)}
    config = dict(config)
    fields |= _told_columns(name, config.pop("columns", {}), parameters)
    constants = checked_config(name, config, parameters, list(fields))
    absent = [each for each in OF_THE_TRAINER if each in parameters.needed]
    if absent:
        raise ConfigError(
            f"scorer {name!r} needs {absent[0]!r}, which exists only inside a trainer"
        )
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
    """Return the calling form of a verl `compute_score`.

    The function receives those of data_source, solution_str, ground_truth and extra_info that it
    names; a batched one uses their plurals. It returns a number, or a dict with `score` whose other
    keys form the explanation. `data_source` and `extra_info` come from the metadata; without an
    `extra_info` key, the whole metadata is passed.

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
    """Return the calling form of an OpenRLHF `reward_func`: (queries, prompts, labels), each a
    list.

    It returns rewards, or a dict with `rewards` and with `extra_logs`, which form the explanation.

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
    """Return "chat" if the function's annotation asks for chats, else ""."""
    said = str(getattr(function, "__annotations__", {}).get("completions", ""))
    return "chat" if said.lower().replace("typing.", "").startswith("list[list[") else ""


def _made_by(
    name: str, maker: Callable[..., Any], config: Config, parameters: Parameters
) -> Callable[..., Any]:
    """Return the reward function that `maker` returns for this config."""
    constants = checked_config(name, config, parameters, ())
    if missing := [each for each in parameters.needed if each not in constants]:
        raise ConfigError(
            f"scorer {name!r} takes no completions, so it must return a reward function; "
            f"set its parameter {missing[0]!r} in config"
        )
    made = maker(**constants)
    if not callable(made):
        raise ConfigError(
            f"scorer {name!r} takes no completions, and does not return a function either"
        )
    return made


def _told_columns(name: str, told: Any, parameters: Parameters) -> dict[str, Getter]:
    """Return the getters of the columns that the config maps."""
    if not is_object(told):
        raise ConfigError(f"scorer {name!r}: columns is {told!r}; set {{column: ground_truth}}")
    getters: dict[str, Getter] = {}
    for column, place in told.items():
        if not takes(parameters, column):
            raise ConfigError(
                f"scorer {name!r}: columns names {column!r}, which is not one of its parameters"
            )
        if place == "ground_truth":
            getters[column] = _needed_truth(True)
        elif str(place).startswith(METADATA):
            getters[column] = _column(str(place).removeprefix(METADATA), truth=False)
        else:
            raise ConfigError(
                f"scorer {name!r}: column {column!r} is {place!r}; set ground_truth or "
                "metadata.NAME"
            )
    return getters


def _column(name: str, *, truth: bool) -> Getter:
    """Return the getter of a column; with `truth`, the ground truth replaces a missing one."""

    def get(sample: Sample) -> Any:
        if name in sample.metadata:
            return sample.metadata[name]
        if truth and sample.ground_truth is not None:
            return sample.ground_truth
        where = "neither in metadata nor in ground_truth" if truth else "not in metadata"
        raise MissingField(
            f"column {name!r} is {where}; send it, or map it with `columns` in config"
        )

    return get


def _needed_truth(needed: bool) -> Getter:
    def get(sample: Sample) -> Any:
        if needed and sample.ground_truth is None:
            raise MissingField("ground_truth is missing")
        return sample.ground_truth

    return get


def _needed_prompt(needed: bool) -> Getter:
    def get(sample: Sample) -> Any:
        if needed and sample.prompt is None:
            raise MissingField("prompt is missing")
        return plain_prompt(sample)

    return get


def _text_prompt(sample: Sample) -> str:
    if sample.prompt is None or isinstance(sample.prompt, str):
        return sample.prompt or ""
    raise MissingField("prompt is a chat; send the rendered text that the model received")
