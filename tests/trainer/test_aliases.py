"""The flags of other projects mean fields of ours, in files and on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.trainer.config import given_fields, parse_config
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.command import EvalArguments, EvalConfigs
from touchstone_rewards.trainer.grpo.command import GrpoConfigs
from touchstone_rewards.trainer.lim.command import LimArguments

ON_CPU = ["--bf16=false", "--use_cpu=true"]


def fields_of(words: list[str]) -> dict[str, Any]:
    configs = parse_config(GrpoConfigs, words, "trainer grpo")
    # The first dataclass with a name: a section has some of them again.
    return {name: value for config in configs[::-1] for name, value in vars(config).items()}


def test_the_command_of_trl_grpo_means_what_it_meant_there(tmp_path: Path) -> None:
    flags = (
        "--model_id Qwen/Qwen2.5-0.5B-Instruct --dataset_id AI-MO/NuminaMath-TIR "
        "--learning_rate 1e-5 --num_train_epochs 1 --batch_size 16 --max_completion_length 64 "
        "--max_prompt_length 128 --num_generations 4"
    )
    found = fields_of([*flags.split(), f"--output_dir={tmp_path}", *ON_CPU])
    assert found["model_name_or_path"] == "Qwen/Qwen2.5-0.5B-Instruct"
    assert found["dataset_name"] == ["AI-MO/NuminaMath-TIR"]
    assert found["per_device_train_batch_size"] == 16
    assert (found["max_prompt_length"], found["max_completion_length"]) == (128, 64)
    assert (found["num_generations"], found["learning_rate"]) == (4, 1e-5)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--loss_type", "no_baseline"], "advantage", "none"),
        (["--loss_type=reinforce_with_baseline"], "advantage", "group_std"),
        (["--loss_type", "GRPO-No-Clip"], "clip", False),
        (["--loss_type", "grpo_clip"], "clip", True),
        (["--loss_type", "dr_grpo"], "loss_type", "dr_grpo"),
        (["--use_std_normalization", "False"], "advantage", "group_mean"),
        (["--use_std_normalization=true"], "advantage", "group_std"),
        (
            ["--length_normalization_type", "masked_mean"],
            "length_normalization",
            "masked_mean",
        ),
        (["--epochs_per_rollout_batch", "5"], "epochs_per_rollout", 5),
        (["--data_path", "rows.jsonl"], "dataset_name", ["rows.jsonl"]),
    ],
)
def test_the_switches_of_the_ablation_study_are_fields_here(
    words: list[str], field: str, value: Any
) -> None:
    assert fields_of([*words, *ON_CPU])[field] == value
    assert field in given_fields(words, GrpoConfigs)


def test_the_selection_script_s_flags_are_those_of_lim() -> None:
    flags = (
        "--train_samples_path s --original_prompts_path p --output_path o "
        "--similarity_threshold .3 --steps_per_epoch 80 --max_epochs 20 "
        "--num_plot_samples 10 --plot_dir plots"
    )
    found = parse_config(LimArguments, flags.split(), "trainer lim")
    assert (found.samples, found.dataset, found.output) == ("s", "p", "o")
    assert (found.threshold, found.steps_per_epoch, found.max_epochs) == (0.3, 80, 20)


def test_a_file_may_use_them_too_but_not_twice_for_one_field(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model_id: here\nuse_std_normalization: false\n")
    found = fields_of([f"--config={file}", *ON_CPU])
    assert (found["model_name_or_path"], found["advantage"]) == ("here", "group_mean")
    assert given_fields([f"--config={file}"], GrpoConfigs) == {"model_name_or_path", "advantage"}
    file.write_text("model_id: here\nmodel_name_or_path: there\n")
    with pytest.raises(InputError, match="both set model_name_or_path"):
        fields_of([f"--config={file}", *ON_CPU])


def test_a_name_that_a_command_has_itself_is_its_own() -> None:
    found = parse_config(EvalArguments, ["--model_dir=a", "--dataset_id", "b"], "eval")
    assert (found.model, found.dataset) == ("a", ["b"])


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'max_prompt_length'"):
        fields_of(["--max_prompt_lenght", "3", *ON_CPU])


def test_the_evaluation_of_trl_grpo_means_what_it_meant_there() -> None:
    flags = (
        "--model_dir Qwen2-0.5B-GRPO-test --dataset_id AI-MO/NuminaMath-TIR --split test[:5%] "
        "--batch_size 16 --max_completion_length 512 --max_prompt_length 256 "
        "--output_file results/eval_results.json"
    )
    found, _, _, generation = parse_config(EvalConfigs, flags.split(), "trainer eval")
    assert (found.model, found.dataset) == ("Qwen2-0.5B-GRPO-test", ["AI-MO/NuminaMath-TIR"])
    assert found.dataset_split == "test[:5%]"
    assert (found.output_file, found.output) == (
        "results/eval_results.json",
        "results/eval_results",
    )
    assert (generation.batch_size, generation.max_new_tokens) == (16, 512)
    assert generation.max_prompt_length == 256
