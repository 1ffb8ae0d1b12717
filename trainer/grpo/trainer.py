"""TRL's GRPO trainer with the parts of the algorithm that TRL has no setting for.

In: what TRL's trainer takes, with `GrpoArguments` and `RolloutArguments`. TRL generates, scores and
has the loss; what is changed lies before the loss: prompts, signals, rewards, advantages. A
checkpoint inside a generation cycle is resumed exactly: the rollout in use is saved with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Sampler
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from trainer.greedy import greedy
from trainer.grpo.advantages import advantages_of
from trainer.grpo.config import Advantage, GrpoArguments, RolloutArguments
from trainer.grpo.open_rollout import OpenRollout, load, path_of, save
from trainer.grpo.sampler import SeededEachEpoch
from trainer.rewards import HoldWithoutRewards


class GrpoTrainer(GRPOTrainer):
    """TRL's trainer and the fields of `GrpoArguments`; it evaluates greedily, and draws the order
    of an epoch from seed and epoch alone (TRL's own would begin anew in a resumed run).

    `rewards_here` are the rewards of this rank's rows of the last rollout, NaN without one.
    """

    def __init__(
        self,
        *args: Any,
        settings: GrpoArguments | None = None,
        rollout: RolloutArguments | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings or GrpoArguments()
        self.rollout = rollout or RolloutArguments()
        super().__init__(*args, **kwargs)
        self.own_advantages: Advantage | None = self.settings.own_advantages(cast(Any, self.args))
        self.rewards_here: Float[Tensor, " rows"] = torch.zeros(0)

    def signals_of(
        self, rows: list[dict[str, Any]], completion_ids: list[list[int]]
    ) -> list[dict[str, float]] | None:
        """Numbers measured on this rank's samples before their rewards are asked for; None: none.

        The hook for a subclass: one mapping a sample, in the order of `rows` (the dataset's rows,
        each repeated for its generations; `row["prompt"]` is the prompt). They are sent to the
        reward server as the samples' `signals`. The policy is `self.model`, in training mode;
        `self._get_per_token_logps_and_entropies` gives its log-probabilities. Every rank calls this
        equally often.
        """
        return None

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> Float[Tensor, "all_rows functions"]:
        signals = self.signals_of(inputs, completion_ids_list)
        if signals is not None:
            inputs = [{**row, "signals": own} for row, own in zip(inputs, signals, strict=True)]
        rewards: Any = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        scores = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        scores[rewards.isnan().all(dim=1)] = torch.nan
        self.all_rewards = scores
        self.rewards_here = self._rows_here(scores)
        return rewards

    def _rows_here(self, values: Tensor) -> Tensor:
        """This rank's part of what was gathered from all."""
        rows = len(values) // self.accelerator.num_processes
        first = self.accelerator.process_index * rows
        return values[first : first + rows]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        training = cast(Any, self.model).training
        if self.own_advantages is not None:
            size = self.num_generations if training else self.num_generations_eval
            every = advantages_of(
                self.all_rewards, cast(int, size), self.own_advantages, self.settings.eps
            )
            batch["advantages"] = self._rows_here(every).to(batch["advantages"].dtype)
            self._correct_log(every)
        if self.settings.length_normalization == "masked_normalize":
            longest = batch["completion_mask"].sum(dim=1).max().clamp(min=1)
            batch["longest_tokens"] = cast(Tensor, self.accelerator.gather(longest)).max()
        return batch

    def _correct_log(self, advantages: Tensor) -> None:
        """TRL has its own advantages in the table of completions by now."""
        log = self._logs["advantages"]
        for _ in range(min(len(log), len(advantages))):
            log.pop()
        log.extend(advantages.tolist())

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        with self._divided_by(inputs.get("longest_tokens")):
            return super()._compute_loss(model, inputs)

    @contextmanager
    def _divided_by(self, longest: Tensor | None) -> Iterator[None]:
        """TRL's `dr_grpo` divides by `max_completion_length`: for `masked_normalize`, by another
        length."""
        usual = self.max_completion_length
        if longest is not None:
            self.max_completion_length = int(longest)
        try:
            yield
        finally:
            self.max_completion_length = usual

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        """TRL's, without what stands before the last `max_prompt_length` tokens."""
        ids, images, fields = super()._tokenize_prompts(prompts)
        limit = self.rollout.max_prompt_length
        if limit is not None:
            cut = [len(each) > limit for each in ids]
            mode = "train" if cast(Any, self.model).training else "eval"
            self._metrics[mode]["prompts/truncated_frac"].append(sum(cut) / len(cut))
            ids = [each[-limit:] for each in ids]
        return ids, images, fields

    @property
    def _held(self) -> Any:
        """The callback that knows whether an update is held."""
        callbacks = self.callback_handler.callbacks
        return next((each for each in callbacks if isinstance(each, HoldWithoutRewards)), None)

    def _save_rng_state(self, output_dir: str) -> None:
        """TRL's, and the rollout in use: on every rank, before the trainer's own state, whose being
        there says that a checkpoint is whole."""
        super()._save_rng_state(output_dir)
        slices: Any = self._buffered_inputs
        args = cast(GRPOConfig, self.args)
        cycle = cast(int, args.steps_per_generation) * self.num_iterations
        if slices is not None and self._step % cycle:
            rollout = OpenRollout(slices, self._step, bool(self._held and self._held.hold))
            save(path_of(output_dir, self.args.process_index), rollout)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        rollout = load(path_of(checkpoint, self.args.process_index), self.accelerator.device)
        if rollout is not None:
            self._buffered_inputs, self._step = list(rollout.slices), rollout.step
            if self._held:
                self._held.hold = rollout.hold

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler[int]:
        sampler = super()._get_train_sampler(dataset)
        assert isinstance(sampler, RepeatSampler)
        return SeededEachEpoch(sampler, self.args.seed, lambda: int(self.state.epoch or 0))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """TRL's, greedy unless `num_generations_eval` asks for several responses a prompt."""
        if (self.num_generations_eval or 1) > 1:
            return super().evaluate(*args, **kwargs)
        with greedy(self):
            return super().evaluate(*args, **kwargs)
