"""`trainer run FILE.yaml`: run a LLaMA-Factory file with the command for its `stage`.

Keys of either project on the command line, as `--key value` or `key=value`, take precedence over
the file. Missing keys have LLaMA-Factory's defaults. Keys that need no action are reported;
unsupported keys are refused together.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from touchstone_rewards.trainer.__main__ import MODULES
from touchstone_rewards.trainer.config import read_yaml
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.field_source import read_options
from touchstone_rewards.trainer.names.brought import brought, items_of, words_of
from touchstone_rewards.trainer.names.llamafactory import (
    DEFAULTS,
    LORA_DEFAULTS,
    STAGE_DEFAULTS,
    STAGES,
    STAGES_NOT_HERE,
)
from touchstone_rewards.trainer.workflow.local_server import reward_server

USAGE = "FILE.yaml [--key value ...] [key=value ...]"
# If an existing adapter is trained, its own config has these.
OF_A_NEW_ADAPTER = ("use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
PROFILE = "reward_model"


class Translated(NamedTuple):
    """Our command, its arguments, and lines about keys that need no action."""

    command: str
    words: list[str]
    said: list[str]


def run(argv: Sequence[str]) -> None:
    """Translate the file, print the command, and run it.

    Raises:
        InputError: the file is missing, or its stage or a key is not supported.
        RunFailed: the command failed.
    """
    if not argv or argv[0].startswith("--"):
        raise InputError(f"usage: trainer run {USAGE}, where FILE is a LLaMA-Factory file")
    path, given = argv[0], {**read_yaml(argv[0]), **pairs_of(argv[1:])}
    model, given = without_local_model(given)
    done = translated(given, path)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"{path}: trainer {done.command} {shlex.join(done.words)}")
        for line in done.said:
            print(line, file=sys.stderr)
    with serving(model, Path(str(given.get("output_dir", DEFAULTS["output_dir"])))) as flags:
        module = import_module(f"touchstone_rewards.trainer.{MODULES[done.command]}")
        module.run([*done.words, *flags])


def pairs_of(words: Sequence[str]) -> dict[str, object]:
    """Parse `--key value`, `--key=value` and `key=value` into a mapping; values are read as YAML.

    Example: `["learning_rate=1e-4", "--stage", "sft"]` sets both.

    Raises:
        InputError: a word has neither form.
    """
    flags = [f"--{word}" if "=" in word and not word.startswith("--") else word for word in words]
    pairs: dict[str, object] = {}
    for item in items_of(flags):
        if not item.name:
            raise InputError(f"expected --key value or key=value, got {' '.join(item.words)!r}")
        pairs[item.name] = yaml.safe_load(item.text)
    return pairs


def translated(given: Mapping[str, object], path: str) -> Translated:
    """Return the command and the arguments for the content of a file.

    Example: `{"stage": "rm", "dataset": "pairs", ...}` is `trainer rm --dataset_name=pairs ...`.

    Raises:
        InputError: the stage or a key is not supported.
    """
    command = command_of(given, path)
    names, sections = names_of(command)
    content, unused = nested(given), other_stages_names(given, command)
    found = brought(
        {name: each for name, each in content.items() if name not in unused}, (), names, command
    )
    # Translate the defaults separately: the file's keys, in either project's words, replace them.
    ours = {**brought(defaults_of(given, command), (), names, command).content, **found.content}
    if ours.get("adapter_name_or_path") and not ours.get("create_new_adapter"):
        ours = {name: value for name, value in ours.items() if name not in OF_A_NEW_ADAPTER}
    words: list[str] = []
    for section in sections:
        own = ours.pop(section, None) or {}
        words += words_of({f"{section}.{name}": value for name, value in own.items()})
    said = [f"{name}: no action needed (only `trainer {unused[name]}` reads it)" for name in unused]
    return Translated(command, [*words_of(ours), *words], [*found.said, *said])


def names_of(command: str) -> tuple[set[str], set[str]]:
    """Return the names of a command's fields and sections, and those of its sections only."""
    kinds, sections = read_options(f"touchstone_rewards.trainer.{MODULES[command]}")
    return {field.name for kind in kinds for field in kind.fields} | {*sections}, {*sections}


def other_stages_names(given: Mapping[str, object], command: str) -> dict[str, str]:
    """Return the keys that only other stages' commands have, with the first such command.

    A file may hold keys of several stages, since the stage is often overridden.
    """
    here, _ = names_of(command)
    found: dict[str, str] = {}
    for other in STAGES.values():
        names, sections = names_of(other)
        for name in set(given) & (names - sections - here):
            found.setdefault(name, other)
    return {name: found[name] for name in given if name in found}


def command_of(given: Mapping[str, object], path: str) -> str:
    """Return the command of the file's stage.

    Raises:
        InputError: the stage is missing or not supported; the message names a replacement.
    """
    stage = str(given.get("stage", "")).lower()
    if stage in STAGES:
        return STAGES[stage]
    if stage in STAGES_NOT_HERE:
        raise InputError(f"{path}: stage: {stage} is not supported; use {STAGES_NOT_HERE[stage]}")
    known = f"one of {', '.join(STAGES)}"
    if stage:
        raise InputError(f"{path}: stage must be {known}, not {stage!r}")
    if "export_dir" in given:
        raise InputError(f"{path} exports a model: use `trainer merge`")
    if "infer_backend" in given:
        raise InputError(f"{path} serves a model: generate with `trainer eval`, or serve with vLLM")
    raise InputError(
        f"{path} has no stage, which must be {known}; run a file with this project's keys with "
        f"`trainer COMMAND --config {path}`"
    )


def defaults_of(given: Mapping[str, Any], command: str) -> dict[str, object]:
    """Return LLaMA-Factory's values for keys that the file does not set."""
    defaults = {**DEFAULTS, **STAGE_DEFAULTS.get(command, {})}
    if {**defaults, **given}["finetuning_type"] == "lora":
        rank = given.get("lora_rank", LORA_DEFAULTS["lora_rank"])
        defaults |= {**LORA_DEFAULTS, "lora_alpha": 2 * rank}
    if command == "ppo":
        # There, the value head is part of the model and shares its optimizer.
        defaults["critic_learning_rate"] = {**defaults, **given}["learning_rate"]
    if not has_accelerator():
        defaults["use_cpu"] = True
    return defaults


def has_accelerator() -> bool:
    """Return whether PyTorch finds an accelerator, such as a GPU."""
    import torch

    return torch.accelerator.is_available()


def nested(content: Mapping[str, object]) -> dict[str, Any]:
    """Return the content with `a.b: c` as `a: {b: c}`, merged with the rest of section `a`."""
    made: dict[str, Any] = {}
    for name, value in content.items():
        section, dot, key = name.partition(".")
        if dot:
            made[section] = {**(made.get(section) or {}), key: value}
        elif isinstance(value, dict):
            made[name] = {**value, **(made.get(name) or {})}
        else:
            made[name] = value
    return made


def without_local_model(given: Mapping[str, object]) -> tuple[Path | None, dict[str, object]]:
    """Return the local reward model of a PPO file, if it names one, and the other keys.

    Raises:
        InputError: there is no such folder, or several processes would each serve it.
    """
    model = given.get("reward_model")
    if given.get("stage") != "ppo" or not model or str(model).startswith(("http://", "https://")):
        return None, dict(given)
    if given.get("reward_model_type") == "limr":
        return None, {name: value for name, value in given.items() if name != "reward_model"}
    if not Path(str(model)).is_dir():
        raise InputError(
            f"reward_model: no folder at {model}; a reward server's URL goes with "
            "reward_model_type: api"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"reward_model: for several processes, serve {model} with reward-server serve and give "
            "its reward_url and reward_profile instead"
        )
    others = ("reward_model", "reward_model_type")
    return Path(str(model)), {name: value for name, value in given.items() if name not in others}


@contextmanager
def serving(model: Path | None, output: Path) -> Iterator[list[str]]:
    """Serve a reward model while the block runs; yield the flags that use it.

    LLaMA-Factory loads the reward model in the training process; here a reward server holds it.

    Raises:
        RunFailed: the server does not start.
    """
    if model is None:
        yield []
        return
    profiles = output / "profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    scorer = {"weight": 1.0, "config": {"model": str(model.resolve())}}
    text = yaml.safe_dump({"description": str(model), "scorers": {"reward_model": scorer}})
    (profiles / f"{PROFILE}.yaml").write_text(text, encoding="utf-8")
    with reward_server(output / "server.log", f"--profiles_dir={profiles}") as url:
        yield [f"--reward_url={url}", f"--reward_profile={PROFILE}"]
