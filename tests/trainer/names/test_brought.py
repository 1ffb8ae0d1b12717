"""Keys of LLaMA-Factory on every stage: translated, without action, or refused with a
replacement."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.trainer.__main__ import MODULES
from touchstone_rewards.trainer.config import given_fields, parse_config
from touchstone_rewards.trainer.data.chat_templates import PROMPTS
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.field_source import read_options
from touchstone_rewards.trainer.names.brought import OFF, brought, items_of, words_of
from touchstone_rewards.trainer.names.llamafactory import (
    DEFAULTS,
    INSTEAD,
    LORA_DEFAULTS,
    NEEDLESS,
    RENAMED,
    STAGE_DEFAULTS,
    STAGES,
    VALUES,
    WITHOUT,
)

ON_CPU = ["--bf16=false", "--use_cpu=true"]


def fields_of(command: str, words: list[str]) -> dict[str, Any]:
    module = import_module(f"touchstone_rewards.trainer.{MODULES[command]}")
    configs = parse_config(module.OPTIONS, [*words, *ON_CPU], f"trainer {command}")
    # The first dataclass with a name: a section of rewards has some of them again.
    return {name: value for config in configs[::-1] for name, value in vars(config).items()}


def names_of(command: str) -> set[str]:
    kinds, _ = read_options(f"touchstone_rewards.trainer.{MODULES[command]}")
    return {field.name for kind in kinds for field in kind.fields}


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        (
            "sft",
            "--stage sft --dataset a,b --dataset_dir data --cutoff_len 128 --max_samples 5",
            {"dataset_name": ["a,b"], "dataset_dir": "data", "max_length": 128, "max_rows": 5},
        ),
        (
            "sft",
            "--finetuning_type lora --lora_rank 4 --lora_alpha 9 --lora_target q_proj,v_proj",
            {"use_peft": True, "lora_r": 4, "lora_alpha": 9},
        ),
        ("rm", "--lora_target all", {"lora_target_modules": "all-linear"}),
        ("dpo", "--finetuning_type full --preprocessing_num_workers 3", {"dataset_num_proc": 3}),
        ("dpo", "--pref_beta 0.3 --pref_loss ipo", {"beta": 0.3, "loss_type": ["ipo"]}),
        ("sft", "--flash_attn sdpa", {"attn_implementation": "sdpa"}),
        ("sft", "--flash_attn auto", {"attn_implementation": None}),
        ("sft", "--quantization_bit 4 --finetuning_type lora", {"load_in_4bit": True}),
        ("sft", "--train_on_prompt", {"completion_only_loss": False}),
        ("sft", "--disable_gradient_checkpointing=true", {"gradient_checkpointing": False}),
        ("rm", "--add_valuehead true --template llama3", {}),
        ("ppo", "--ppo_epochs 3 --max_new_tokens 9", {"num_iterations": 3}),
        (
            "ppo",
            "--reward_model_type api --reward_model http://h:1/v1/score/evaluation?profile=math_x",
            {"reward_url": ["http://h:1"], "reward_profile": "math_x"},
        ),
        ("grpo", "--cutoff_len 64", {"max_prompt_length": 64}),
    ],
)
def test_llamafactory_s_keys_are_fields_of_every_stage(
    command: str, words: str, expected: dict[str, Any]
) -> None:
    found = fields_of(command, words.split())
    assert {name: found[name] for name in expected} == expected


def test_a_key_of_the_file_and_its_flag_are_one_field(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("cutoff_len: 100\nlora_target: q_proj, k_proj\ntemplate: qwen3_nothink\n")
    found = fields_of("sft", [f"--config={file}", "--max_length", "7"])
    assert (found["max_length"], found["lora_target_modules"]) == (7, ["q_proj", "k_proj"])
    assert found["chat_template_path"] == str(PROMPTS / "chatml.jinja")
    file.write_text("cutoff_len: 100\nmax_length: 90\n")
    with pytest.raises(InputError, match="both set max_length"):
        fields_of("sft", [f"--config={file}"])


@pytest.mark.parametrize(
    ("command", "words", "lines"),
    [
        ("sft", "--stage dpo", ["stage: dpo is not supported; use `trainer dpo`"]),
        ("sft", "--stage kto", ["stage: kto is not supported; use dpo, on pairs"]),
        (
            "sft",
            "--use_galore true --finetuning_type freeze --image_max_pixels 3",
            ["use_galore: true", "finetuning_type: freeze", "image_max_pixels: 3"],
        ),
        ("dpo", "--pref_loss orpo", ["pref_loss: orpo is not supported; use loss_type"]),
        ("sft", "--template nobody_s", ["template: no chat template 'nobody_s'"]),
        (
            "ppo",
            "--reward_model saves/rm --reward_model_type full",
            ["reward_model: saves/rm is not supported", "reward_model_type: full is not supported"],
        ),
        ("sft", "--limr.enabled true", ["limr.enabled: true is not supported"]),
    ],
)
def test_what_is_not_here_is_refused_together_with_what_to_use(
    command: str, words: str, lines: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        fields_of(command, words.split())
    said = str(error.value).splitlines()
    assert len(said) == len(lines)
    for line, start in zip(said, lines, strict=True):
        assert line.startswith(start)


def test_keys_that_need_nothing_are_said_and_those_that_are_off_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "--plot_loss true --use_galore false --streaming=false --limr.enabled false"
    fields_of("sft", [*words.split(), "--limr.reward_type", "rule", "--enable_thinking", "true"])
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "no action needed" in line] == [
        "plot_loss: no action needed (the curves and a report are always written)"
    ]


def test_a_key_of_another_stage_is_said_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "--ppo_epochs 4 --reward_model saves/rm --reward_model_type full --pref_beta 0.2"
    fields_of("sft", [*words.split(), "--add_valuehead", "true", "--limr.enabled", "false"])
    said = [line for line in capsys.readouterr().err.splitlines() if "no action needed" in line]
    assert said == [
        "ppo_epochs: no action needed (only `trainer ppo` reads it)",
        "reward_model: no action needed (only `trainer ppo` reads it)",
        "reward_model_type: no action needed (only `trainer ppo` reads it)",
        "pref_beta: no action needed (only `trainer dpo` reads it)",
    ]


def test_every_unknown_flag_is_named() -> None:
    with pytest.raises(InputError) as error:
        fields_of("sft", ["--max_lenght=3", "--nobody_knows", "1"])
    first, second = str(error.value).splitlines()
    assert "did you mean 'max_length'" in first
    assert "--nobody_knows" in second


def test_the_words_of_our_own_flags_stay_as_they_are() -> None:
    words = ["--a", "1", "2", "--b=--c", "--d", "--e="]
    assert brought({}, words, {"a", "b", "d", "e"}, "sft").flags == words
    assert [item.text for item in items_of(["x", "--a", "1", "2", "--b"])] == ["", "1 2", "true"]
    assert words_of({"a": [1, 2], "b": None, "c": {"d": True}, "e": False}) == [
        *("--a", "1", "2", '--c={"d": true}', "--e=false"),
    ]


def test_the_fields_given_are_ours(tmp_path: Path) -> None:
    options = import_module("touchstone_rewards.trainer.grpo.command").OPTIONS
    assert given_fields(["--max_new_tokens", "3", "--lora_rank=2"], options) == {
        *("max_completion_length", "lora_r"),
    }


def fields_meant(meaning: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {field for by_value in meaning.values() for field in by_value}


def test_the_tables_name_fields_that_some_stage_has_and_say_what_to_use() -> None:
    ours = set().union(*(names_of(command) for command in STAGES.values()))
    # Fields of parts that are not installed everywhere are written down before they are there.
    for key, fields in RENAMED.items():
        assert set(fields) & ours or key in {*NEEDLESS, *INSTEAD, *WITHOUT}, key
    for key, meaning in VALUES.items():
        assert fields_meant(meaning) <= ours, key
        assert key in {*NEEDLESS, *INSTEAD, *WITHOUT} or set(meaning) & OFF, key
    for key in [
        *DEFAULTS,
        *LORA_DEFAULTS,
        *(key for each in STAGE_DEFAULTS.values() for key in each),
    ]:
        assert key in ours or key in RENAMED or key in VALUES, key
