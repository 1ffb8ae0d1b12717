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
from touchstone_rewards.reward_server.schemas import Sample, is_list, is_object
from touchstone_rewards.reward_server.scorers.functions.form import (
    Form,
    Getter,
    MissingField,
    Parameters,
    checked_config,
    parameters_of,
    plain_prompt,
    with_constants,
)

Config = Mapping[str, Any]
# A column of this name that the metadata lacks is the ground truth.
TRUTH_COLUMNS = ("solution", "ground_truth", "answer", "label", "target", "reference", "gold")
METADATA = "metadata."
COLUMN_READS = ("response", "prompt", "ground_truth", "metadata")
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
            return sample.response
        return [{"role": "assistant", "content": sample.response}]

    fields = {"completions": completion, "prompts": _needed_prompt("prompts" in parameters.needed)}
    return _column_form(name, function, config, parameters, fields)


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
    fields = {each: get for each, get in known.items() if _takes(parameters, each)}
    config = dict(config)
    fields |= _told_columns(name, config.pop("columns", {}), parameters)
    constants = checked_config(name, config, parameters, list(fields))
    absent = [each for each in OF_THE_TRAINER if each in parameters.needed]
    if absent:
        raise ConfigError(f"scorer {name!r} needs {absent[0]!r}, which only a trainer has")
    columns = [each for each in parameters.needed if each not in fields and each not in constants]
    for each in columns:
        fields[each] = _column(each, truth=each in TRUTH_COLUMNS)
    truths = [each for each in TRUTH_COLUMNS if _takes(parameters, each)]
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
    return _plain_form(name, function, config, parameters, plural if batch else single, batch)


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
    return _plain_form(name, function, config, parameters, known, batch=True)


def verifiers_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return how a reward function of verifiers' rubrics is called: with those of prompt,
    completion, answer, state, task and info that it takes. One with plural names sees a group.

    Prompt and completion are chats, as there; the answer is the ground truth as text.

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
    batch = any(each in plural for each in parameters.names)
    known = plural if batch else single
    if batch and parameters.any_other:
        known = {each: get for each, get in plural.items() if each in parameters.names}
    return _plain_form(name, function, config, parameters, known, batch, whole_group=batch)


def easyr1_form(name: str, function: Callable[..., Any], config: Config) -> Form:
    """Return how a `compute_score` of EasyR1 is called: with `reward_inputs`, a list of dicts, or
    with one `reward_input`. It returns a dict for each, whose `overall` is the score.

    A dict has `response`, `ground_truth`, and `response_length` where the metadata has that.

    Source: `BatchFunctionRewardManager` of EasyR1 (verl/workers/reward/function.py).
    """
    parameters = parameters_of(name, function)
    batch = "reward_inputs" in parameters.names

    def reward_input(sample: Sample) -> dict[str, Any]:
        length = sample.metadata.get("response_length")
        known = {} if length is None else {"response_length": length}
        return {"response": sample.response, "ground_truth": sample.ground_truth, **known}

    known: dict[str, Getter] = {"reward_inputs" if batch else "reward_input": reward_input}
    form = _plain_form(name, function, config, parameters, known, batch)

    def read(returned: Any) -> Any:
        if batch:
            return [_score_of_a_dict(one, "overall") for one in returned]
        return _score_of_a_dict(returned, "overall")

    return replace(form, read=read)


FOREIGN: dict[str, Callable[[str, Callable[..., Any], Config], Form]] = {
    "trl": trl_form,
    "verl": verl_form,
    "easyr1": easyr1_form,
    "openrlhf": openrlhf_form,
    "ms_swift": ms_swift_form,
    "verifiers": verifiers_form,
}


def _plain_form(
    name: str,
    function: Callable[..., Any],
    config: Config,
    parameters: Parameters,
    known: Mapping[str, Getter],
    batch: bool,
    whole_group: bool = False,
) -> Form:
    """A form whose parameters are `known` ones and config, and no others."""
    fields = {each: get for each, get in known.items() if _takes(parameters, each)}
    constants = checked_config(name, config, parameters, list(fields))
    empty = [each for each in parameters.needed if each not in fields and each not in constants]
    if empty or not fields:
        which = f"needs {empty[0]!r}, which" if empty else "takes nothing that"
        raise ConfigError(
            f"scorer {name!r} {which} is passed to such functions; they get "
            f"{', '.join(known)}, and what config says"
        )
    return Form(
        name,
        with_constants(function, constants),
        fields,
        COLUMN_READS,
        batch=batch,
        takes=None,
        read=_rewards_of_a_dict if batch else _score_of_a_dict,
        whole_group=whole_group,
    )


def _form_by_annotation(function: Callable[..., Any]) -> str:
    """Whether the function says itself that it takes chats."""
    said = str(getattr(function, "__annotations__", {}).get("completions", ""))
    return "chat" if said.lower().replace("typing.", "").startswith("list[list[") else ""


def _takes(parameters: Parameters, name: str) -> bool:
    return parameters.any_other or name in parameters.names


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


def _score_of_a_dict(returned: Any, score: str = "score") -> Any:
    if not is_object(returned):
        return returned
    rest = {key: value for key, value in returned.items() if key != score}
    return returned.get(score, returned), rest


def _rewards_of_a_dict(returned: Any) -> Any:
    """A number or a pair for each sample, of a list or of a dict of lists."""
    if not is_object(returned) or "rewards" not in returned:
        listed = _listed(returned)
        return [_score_of_a_dict(one) for one in listed] if is_list(listed) else listed
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


def _told_columns(name: str, told: Any, parameters: Parameters) -> dict[str, Getter]:
    """The getters of the columns that the config says the place of."""
    if not is_object(told):
        raise ConfigError(f"scorer {name!r}: columns is {told!r}; say {{column: ground_truth}}")
    getters: dict[str, Getter] = {}
    for column, place in told.items():
        if not _takes(parameters, column):
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


def _rollout(sample: Sample) -> dict[str, Any]:
    """What verifiers calls the state of a rollout."""
    prompt = plain_prompt(sample)
    if not isinstance(prompt, list):
        prompt = [{"role": "user", "content": prompt or ""}]
    truth = sample.ground_truth
    info = sample.metadata.get("info", sample.metadata)
    return {
        "prompt": prompt,
        "completion": [{"role": "assistant", "content": sample.response}],
        "answer": "" if truth is None else str(truth) if isinstance(truth, int | float) else truth,
        "task": sample.metadata.get("task", "default"),
        "info": info,
    }
