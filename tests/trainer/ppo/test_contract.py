"""Internals of TRL, transformers and PEFT that PPO relies on; a failing test names the file to
read."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest
import yaml
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import Trainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

from tests.checkout import ROOT
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.lim.command import LimArguments
from touchstone_rewards.trainer.limr.command import LimrConfigs
from touchstone_rewards.trainer.ppo import command

CONFIGS = ROOT / "trainer" / "configs"
ON_CPU = ["--use_cpu=true", "--bf16=false"]


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # pyright: ignore[reportArgumentType]


def test_the_methods_that_ppo_overrides_have_the_shape_they_had() -> None:
    assert parameters(GRPOTrainer._calculate_rewards) == [
        "self",
        "inputs",
        "prompts",
        "completions",
        "completion_ids_list",
    ]
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert parameters(GRPOTrainer._compute_loss) == ["self", "model", "inputs"]
    scoring = parameters(GRPOTrainer._get_per_token_logps_and_entropies)
    assert scoring[:6] == [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
    ]
    assert parameters(Trainer.create_optimizer) == ["self", "model"]
    assert parameters(Trainer._clip_grad_norm) == ["self", "model"]
    assert parameters(Trainer._save) == ["self", "output_dir", "state_dict"]
    assert parameters(Trainer._load_from_checkpoint) == ["self", "resume_from_checkpoint", "model"]


def test_the_batch_has_the_keys_that_ppo_reads_and_writes() -> None:
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for key in (
        "prompt_ids",
        "prompt_mask",
        "completion_ids",
        "completion_mask",
        "advantages",
        "num_items_in_batch",
        "ref_per_token_logps",
        "tool_mask",
    ):
        assert f'"{key}"' in source, key


def test_the_loss_takes_token_wise_advantages_and_reads_beta_each_time() -> None:
    source = inspect.getsource(GRPOTrainer._compute_loss)
    assert "if advantages.dim() == 1:" in source
    assert "if self.beta != 0.0:" in source
    assert 'inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes' in source
    assert "self.current_gradient_accumulation_steps / self.args.steps_per_generation" in source


def test_rewards_of_all_ranks_come_back_from_the_reward_step() -> None:
    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    assert "rewards_per_func = gather(rewards_per_func)" in source


def test_the_fused_head_runs_the_backbone_that_the_critic_listens_to() -> None:
    source = inspect.getsource(add_fused_lm_head)
    assert 'backbone_attr = "base_model"' in source
    assert "model.forward = types.MethodType(_fused_forward, model)" in source
    assert dataclasses.is_dataclass(FusedCausalLMOutput)


def test_vllm_is_sent_what_this_walk_yields() -> None:
    assert parameters(VLLMGeneration._iter_named_params) == ["self"]
    assert "self._iter_named_params()" in inspect.getsource(VLLMGeneration.sync_weights)


def test_a_lora_layer_runs_the_adapters_that_are_named_here() -> None:
    assert hasattr(BaseTunerLayer, "_active_adapter")
    assert "_active_adapter" in inspect.getsource(BaseTunerLayer.active_adapter.fget)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ppo.yaml"])
def test_the_ppo_example_holds_limrs_published_settings(name: str) -> None:
    *_, args, _, limr = parse_config(
        command.PpoConfigs, ["--config", str(CONFIGS / name), *ON_CPU], "trainer ppo"
    )
    assert (args.gae_lambda, args.gamma, args.epsilon, args.value_clip) == (0.95, 1.0, 0.2, 0.2)
    assert (args.kl_coef, args.num_generations, args.temperature) == (0.01, 8, 1.2)
    assert (args.learning_rate, args.critic_learning_rate) == (5e-7, 9e-6)
    assert not limr.enabled


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("limr*.yaml")), ids=lambda path: path.name)
def test_every_stage_of_the_workflow_examples_takes_its_fields(path: Path, tmp_path: Path) -> None:
    arguments, ppo, lim, third, _ = parse_config(
        LimrConfigs, ["--config", str(path)], "trainer limr"
    )
    assert arguments.third_stage == "rl"
    stage = tmp_path / "ppo.yaml"
    numbers = {key: value for key, value in {**ppo, **third}.items() if value != "{seed}"}
    stage.write_text(yaml.safe_dump({**numbers, "output_dir": str(tmp_path)}))
    *_, limr = parse_config(command.PpoConfigs, ["--config", str(stage), *ON_CPU], "trainer ppo")
    limr.check(None, validation=False)
    assert limr.enabled
    LimArguments(**lim)


@pytest.mark.parametrize(("name", "field"), [("ppo", "limr.reward_type"), ("lim", "threshold")])
def test_help_lists_the_fields(name: str, field: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"--{field}" in capsys.readouterr().out
