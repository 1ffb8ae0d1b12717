"""Flags of the study that only mean something in combination, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.command import GrpoConfigs
from touchstone_rewards.trainer.names.study_script import updates_a_rollout

# Of alignment/grpo_off_policy.py, in its own names.
SCRIPT = (
    "--n_grpo_steps 100 --learning_rate 1e-5 --advantage_eps 1e-6 --rollout_batch_size 256 "
    "--group_size 8 --sampling_temperature 0.7 --sampling_min_tokens 4 --sampling_max_tokens 1024 "
    "--epochs_per_rollout_batch 4 --train_batch_size 256 --gradient_accumulation_steps 128 "
    "--gpu_memory_utilization 0.85 --loss_type grpo_clip --use_std_normalization true "
    "--refresh_vllm_every 1 --eval_every 1 --cliprange 0.2 "
    "--length_normalization_type masked_normalize --model_path m --test_path t.jsonl"
)


def fields_of(words: str) -> dict[str, Any]:
    flags = [*words.split(), "--bf16=false", "--use_cpu=true"]
    configs = parse_config(GrpoConfigs, flags, "trainer grpo")
    # The first dataclass with a name: a section has some of them again.
    return {name: value for config in configs[::-1] for name, value in vars(config).items()}


def test_the_whole_command_of_the_study_is_understood() -> None:
    found = fields_of(SCRIPT)
    # 256 responses in 128 parts are 2 at a time; 100 rollouts of 4 passes are 400 updates.
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == (2, 128)
    assert (found["max_steps"], found["eval_steps"]) == (400, 4)
    assert found["eval_strategy"] == "steps"
    assert found["generation_kwargs"] == {"min_new_tokens": 4}
    assert (found["generation_batch_size"], found["num_generations"]) == (256, 8)
    assert (found["epsilon"], found["advantage_eps"]) == (0.2, 1e-6)
    assert (found["model_name_or_path"], found["eval_dataset_name"]) == ("m", ["t.jsonl"])


def test_vllm_calls_the_least_number_of_tokens_otherwise() -> None:
    found = fields_of('--sampling_min_tokens 4 --use_vllm true --generation_kwargs {"seed":1}')
    assert found["generation_kwargs"] == {"seed": 1, "min_tokens": 4}


@pytest.mark.parametrize(
    ("given", "updates"),
    [
        ({}, 1),
        ({"epochs_per_rollout": 3}, 3),
        ({"rollout_batch_size": 256, "train_batch_size": "64"}, 4),
        ({"num_iterations": 2, "rollout_batch_size": 8, "train_batch_size": 4}, 4),
    ],
)
def test_updates_of_one_rollout(given: dict[str, Any], updates: int) -> None:
    assert updates_a_rollout(given) == updates


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--train_batch_size 10 --gradient_accumulation_steps 4", "not a multiple"),
        ("--train_batch_size many", "a whole number from 1"),
        ("--eval_every 2 --eval_steps 3", "eval_steps is set twice"),
    ],
)
def test_numbers_that_do_not_fit_are_named(words: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        fields_of(words)
