"""Internals of TRL and transformers that the trainer relies on; a failing test names the file to
read."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import torch
from transformers import Trainer, TrainerCallback
from trl.generation.vllm_generation import VLLMGeneration
from trl.kernels import chunked_logprob
from trl.scripts.utils import TrlParser
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from touchstone_rewards.trainer.grpo.sampler import SeededEachEpoch


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # pyright: ignore[reportArgumentType]


def test_trl_is_of_the_version_that_this_was_written_for() -> None:
    assert version("trl").startswith("1.16.")


def test_the_sampler_hook_of_grpo_is_where_it_was() -> None:
    assert parameters(GRPOTrainer._get_train_sampler) == ["self", "dataset"]
    assert "RepeatSampler" in inspect.getsource(GRPOTrainer._get_train_sampler)


def test_reward_functions_are_given_the_columns_the_state_and_the_metric_logger() -> None:
    source = inspect.getsource(GRPOTrainer._calculate_rewards)
    for name in ("trainer_state", "log_metric", "prompts=prompts", "completions=completions"):
        assert name in source


def test_a_reward_of_none_gives_no_advantage() -> None:
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    assert "unscorable_mask" in source
    assert "torch.nan_to_num(advantages, nan=0.0)" in source


def test_the_callback_between_gradients_and_optimizer_exists_and_knows_the_optimizer() -> None:
    assert "on_pre_optimizer_step" in dir(TrainerCallback)
    assert "on_pre_optimizer_step" in inspect.getsource(Trainer._run_epoch)


def test_an_optimizer_step_without_gradients_changes_nothing() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.ones(2)
    optimizer.step()
    before = weight.detach().clone()
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    assert torch.equal(weight, before)


def test_the_parser_takes_what_the_config_passes() -> None:
    assert "kwargs" in parameters(TrlParser.__init__)
    assert "look_for_args_file" in parameters(TrlParser.parse_args_into_dataclasses)


def test_the_fields_that_decide_when_a_checkpoint_can_be_resumed_exist() -> None:
    fields = set(GRPOConfig.__dataclass_fields__)
    assert {"steps_per_generation", "num_iterations", "gradient_accumulation_steps"} <= fields


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    epoch = 0

    def sampler() -> SeededEachEpoch:
        return SeededEachEpoch(RepeatSampler(range(20), 2, seed=1), 1, lambda: epoch)

    went_on = sampler()
    first = list(went_on)
    epoch = 1
    second = list(went_on)
    assert second == list(sampler())
    assert first != second
    assert sorted(first) == sorted(second) == sorted([*range(20), *range(20)])


def test_what_a_greedy_evaluation_changes_for_a_while_is_what_rollouts_read() -> None:
    source = inspect.getsource(GRPOTrainer)
    assert "generation_config=self.generation_config" in source
    assert "generation_kwargs=self.generation_kwargs" in source
    assert "temperature = self.temperature" in inspect.getsource(VLLMGeneration.generate)


def test_the_methods_that_grpo_overrides_take_and_give_what_they_did() -> None:
    assert parameters(GRPOTrainer._calculate_rewards) == [
        *("self", "inputs", "prompts", "completions", "completion_ids_list")
    ]
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert parameters(GRPOTrainer._tokenize_prompts) == ["self", "prompts"]
    assert parameters(GRPOTrainer._compute_loss) == ["self", "model", "inputs"]
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    rewards = "self._calculate_rewards(inputs, prompts, completions, completion_ids_list)"
    assert rewards in source
    for name in ("advantages", "completion_mask", "num_items_in_batch", "old_per_token_logps"):
        assert f'"{name}"' in source
    assert 'self._logs["advantages"].extend' in source


def test_the_constant_length_of_the_loss_is_read_from_the_trainer_when_it_is_computed() -> None:
    source = inspect.getsource(GRPOTrainer._compute_loss)
    assert source.count("self.max_completion_length") == 1
    assert "(per_token_loss.size(0) * self.max_completion_length)" in source


def test_the_rollout_in_use_is_where_it_was_and_made_of_tensors() -> None:
    source = inspect.getsource(GRPOTrainer._prepare_inputs)
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in source
    assert "self._step % generate_every == 0 or self._buffered_inputs is None" in source
    assert "_save_rng_state(output_dir)" in inspect.getsource(Trainer._save_checkpoint)


def test_the_time_of_a_step_holds_its_rollout() -> None:
    source = inspect.getsource(GRPOTrainer.training_step)
    assert source.index("perf_counter") < source.index("super().training_step")
    assert "self._prepare_inputs(inputs)" in inspect.getsource(Trainer.training_step)


def test_the_pass_over_the_rollout_comes_before_the_rewards_and_when_it_is_made_is_known() -> None:
    source = " ".join(inspect.getsource(GRPOTrainer._generate_and_score_completions).split())
    due = (
        "generate_every = self.args.steps_per_generation * self.num_iterations",
        "if self.args.gradient_accumulation_steps % generate_every != 0 or ( "
        "self.use_vllm and self.vllm_importance_sampling_correction ): "
        "old_per_token_logps, _, _ = self._get_per_token_logps_and_entropies( self.model,",
    )
    for text in due:
        assert text in source
    first = source.index("self._get_per_token_logps_and_entropies(")
    assert source.index("old_per_token_logps, _, _ = ") < first
    assert first < source.index("self._calculate_rewards(")


def test_a_scoring_pass_gives_log_probs_entropies_and_works_in_tiles() -> None:
    method = GRPOTrainer._get_per_token_logps_and_entropies
    assert parameters(method)[1:7] == [
        *["model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"],
        "compute_entropy",
    ]
    assert chunked_logprob.TOKEN_CHUNK_SIZE <= 4096
