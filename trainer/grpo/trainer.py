"""TRL's GRPO trainer plus the settings that TRL lacks.

TRL generates, scores and computes the loss; this class changes prompts, signals, rewards and
advantages before the loss. A checkpoint inside a generation cycle is resumed exactly: the rollout
in use is saved with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Sampler
from trl.rewards.other_rewards import get_soft_overlong_punishment
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from touchstone_rewards.trainer.data.chats import is_begun, prompt_tokens
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.grpo.advantages import (
    advantages_of,
    group_std,
    with_penalties,
    zero_variance,
)
from touchstone_rewards.trainer.grpo.config import Advantage, GrpoArguments, RolloutArguments
from touchstone_rewards.trainer.grpo.equal_rewards import EqualRewardsWatch
from touchstone_rewards.trainer.grpo.greedy_eval import greedy
from touchstone_rewards.trainer.grpo.learning import LearningArguments
from touchstone_rewards.trainer.grpo.loss import divided_by, load_loss, loss_inputs
from touchstone_rewards.trainer.grpo.open_rollout import (
    OpenRollout,
    load,
    path_of,
    refuse_part,
    save,
)
from touchstone_rewards.trainer.grpo.refill import other_rows, rows_of_groups, with_groups
from touchstone_rewards.trainer.grpo.sampler import (
    ChosenEachEpoch,
    Record,
    SeededEachEpoch,
    mixed_seed,
    records_of,
)
from touchstone_rewards.trainer.rewards import HoldWithoutRewards, together


class GrpoTrainer(GRPOTrainer):
    """TRL's trainer with `GrpoArguments`, `RolloutArguments` and `LearningArguments`.

    It evaluates greedily, and derives the order of an epoch from seed and epoch alone; TRL's own
    order would start over in a resumed run.

    `rewards_here` holds the rewards of this rank's rows in the last rollout, NaN without one.
    `samples` is the run's store, from which `LearningArguments` choose rows.
    `learns_from_differences` says whether a group of equal rewards teaches nothing; with a critic
    it does teach.
    """

    learns_from_differences = True

    def __init__(
        self,
        *args: Any,
        settings: GrpoArguments | None = None,
        rollout: RolloutArguments | None = None,
        learning: LearningArguments | None = None,
        samples: Path | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings or GrpoArguments()
        self.rollout = rollout or RolloutArguments()
        self.learning = learning or LearningArguments()
        self.samples = samples
        super().__init__(*args, **kwargs)
        path = self.settings.loss_function
        self.own_loss = load_loss(path) if path else None
        self.own_advantages: Advantage | None = self.settings.own_advantages(cast(Any, self.args))
        self.rewards_here: Float[Tensor, " rows"] = torch.zeros(0)
        self.equal_rewards = EqualRewardsWatch()

    def signals_of(
        self, rows: list[dict[str, Any]], completion_ids: list[list[int]]
    ) -> list[dict[str, float]] | None:
        """Return numbers measured on this rank's samples before they are scored; None for none.

        A hook for subclasses: return one mapping per sample, in the order of `rows` (the dataset's
        rows, each repeated for its generations; `row["prompt"]` is the prompt). The numbers are
        sent to the reward server as the samples' `signals`. The policy is `self.model`, in training
        mode; `self._get_per_token_logps_and_entropies` gives its log-probabilities. Every rank
        calls this equally often.

        Example:
            def signals_of(self, rows, completion_ids):
                return [{"tokens": float(len(ids))} for ids in completion_ids]
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
        weights = self.reward_weights.to(rewards.device)
        if self.learning.overlong_cache_tokens is not None:
            penalties = self._overlong_penalties(completion_ids_list)
            rewards = with_penalties(rewards, weights, penalties)
        scores = (rewards * weights).nansum(dim=1)
        scores[rewards.isnan().all(dim=1)] = torch.nan
        self.all_rewards = scores
        self.rewards_here = self._rows_here(scores)
        return rewards

    def _overlong_penalties(self, completion_ids: list[list[int]]) -> Float[Tensor, " all_rows"]:
        """Return the length penalties; a sample without a reward stays without one."""
        cache = cast(int, self.learning.overlong_cache_tokens)
        longest = cast(int, self.max_completion_length)
        factor = self.learning.overlong_penalty_factor
        soft = get_soft_overlong_punishment(longest, cache)(completion_ids)
        penalties = [factor * each for each in soft]
        self._log_metric("overlong_penalty", sum(penalties) / len(penalties))
        here = torch.tensor(penalties, dtype=torch.float32, device=self.accelerator.device)
        return cast(Tensor, self.accelerator.gather(here))

    def _rows_here(self, values: Tensor) -> Tensor:
        """Return this rank's part of values gathered from all ranks."""
        rows = len(values) // self.accelerator.num_processes
        first = self.accelerator.process_index * rows
        return values[first : first + rows]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self._scored(inputs)
        self._watch_rewards()
        if self.learning.refill_groups and cast(Any, self.model).training:
            batch = self._refilled(batch, inputs)
        if self.settings.length_normalization == "masked_normalize":
            longest = batch["completion_mask"].sum(dim=1).max().clamp(min=1)
            batch["longest_tokens"] = cast(Tensor, self.accelerator.gather(longest)).max()
        return batch

    def _scored(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Run TRL's rollout, with the advantages that TRL has no setting for."""
        batch = super()._generate_and_score_completions(inputs)
        if self.own_advantages is not None:
            training = cast(Any, self.model).training
            size = cast(int, self.num_generations if training else self.num_generations_eval)
            kind, eps = self.own_advantages, self.settings.eps
            every = advantages_of(self.all_rewards, size, kind, eps)
            batch["advantages"] = self._rows_here(every).to(batch["advantages"].dtype)
            self._correct_log(every)
        return batch

    def _watch_rewards(self) -> None:
        """Pass the rewards of a training rollout to the equal-rewards watch."""
        training, first = cast(Any, self.model).training, self.accelerator.is_main_process
        if training and first and self.learns_from_differences:
            cut = self._metrics["train"]["completions/clipped_ratio"][-1:] or [0.0]
            size, step = cast(int, self.num_generations), self.state.global_step + 1
            self.equal_rewards.saw(self.all_rewards, size, step, cut[-1])

    def _refilled(self, batch: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Replace the groups of equal rewards by those of other rows.

        At most `refill_groups` further rollouts are made; every rank makes the same number.
        """
        size, rewards = cast(int, self.num_generations), self.rewards_here.clone()
        used = set(gather_object([row["id"] for row in inputs]))
        for rounds in range(self.learning.refill_groups):
            equal = zero_variance(rewards, size).nonzero().flatten()
            rows = self._other_rows(used, len(equal), rounds)
            if not rows:
                break
            other = self._scored([dict(row) for row in rows for _ in range(size)])
            teaching = (group_std(self.rewards_here.view(-1, size)).flatten() > 0).nonzero()
            count = min(len(equal), len(teaching))
            places = rows_of_groups(equal[:count], size)
            from_places = rows_of_groups(teaching.flatten()[:count], size)
            batch = with_groups(batch, places, other, from_places, self._pad_token)
            rewards[places] = self.rewards_here[from_places]
            self._log_train("refill/groups", count)
        self.rewards_here = rewards
        self._log_train("refill/equal_left", float(zero_variance(rewards, size).float().mean()))
        mask = batch["completion_mask"] * batch.get("tool_mask", 1)
        batch["num_items_in_batch"] = cast(Tensor, self.accelerator.gather(mask.sum())).sum()
        return batch

    def _other_rows(self, used: set[str], equal: int, rounds: int) -> list[dict[str, object]]:
        """Return as many new rows for each rank as the rank with the most needs; none if too few
        are left."""
        count = max(gather_object([equal]))
        ranks, rank = self.accelerator.num_processes, self.accelerator.process_index
        rows: Any = self.train_dataset
        seed = mixed_seed(self.args.seed, self.state.global_step, rounds)
        drawn = other_rows(used, rows["id"], count * ranks, torch.Generator().manual_seed(seed))
        if len(drawn) < count * ranks:
            return []
        used.update(rows[place]["id"] for place in drawn)
        return [rows[place] for place in drawn[rank * count : (rank + 1) * count]]

    @property
    def _pad_token(self) -> int:
        tokenizer: Any = self._tokenizer
        return tokenizer.pad_token_id

    def _log_train(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)

    def _correct_log(self, advantages: Tensor) -> None:
        """Replace TRL's own advantages in the table of completions."""
        log = self._logs["advantages"]
        for _ in range(min(len(log), len(advantages))):
            log.pop()
        log.extend(advantages.tolist())

    def _compute_loss(self, model: object, inputs: dict[str, Any]) -> Tensor:
        if self.own_loss is not None:
            loss = self.own_loss(loss_inputs(self, model, inputs))
            training = cast(Any, self.model).training
            return loss / (self.current_gradient_accumulation_steps if training else 1)
        with divided_by(self, inputs.get("longest_tokens")):
            return super()._compute_loss(model, inputs)

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        """Tokenize as TRL does, then keep the last `max_prompt_length` tokens.

        If a prompt ends with a begun assistant turn, the model continues that turn.
        """
        ids: list[list[int]]
        if any(map(is_begun, prompts)):
            given: Any = self.chat_template_kwargs
            template = {**given, "tools": self.tools or None}
            ids = [prompt_tokens(self._tokenizer, prompt, template) for prompt in prompts]
            images, fields = None, {}
        else:
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
        """Return the callback that knows whether an update is held."""
        callbacks = self.callback_handler.callbacks
        return next((each for each in callbacks if isinstance(each, HoldWithoutRewards)), None)

    def _save_rng_state(self, output_dir: str) -> None:
        """Save the rollout in use along with TRL's RNG state, on every rank.

        This runs before the trainer's own state is written, which marks a checkpoint as complete.
        """
        super()._save_rng_state(output_dir)
        slices: Any = self._buffered_inputs
        args = cast(GRPOConfig, self.args)
        cycle = cast(int, args.steps_per_generation) * self.num_iterations
        if slices is not None and self._step % cycle:
            hold, ranks = bool(self._held and self._held.hold), self.accelerator.num_processes
            rollout = OpenRollout(slices, self._step, hold, ranks)
            save(path_of(output_dir, self.args.process_index), rollout)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = path_of(checkpoint, self.args.process_index)
        with together():
            rollout = load(path, self.accelerator.device)
        refuse_part(gather_object([rollout and rollout.ranks]), checkpoint)
        if rollout is not None:
            self._buffered_inputs, self._step = list(rollout.slices), rollout.step
            if self._held:
                self._held.hold = rollout.hold

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler[int]:
        sampler = super()._get_train_sampler(dataset)
        assert isinstance(sampler, RepeatSampler)

        def epoch() -> int:
            return int(self.state.epoch or 0)

        if self.learning.chooses_rows:
            seed, learning = self.args.seed, self.learning
            return ChosenEachEpoch(sampler, seed, epoch, learning, self._records)
        return SeededEachEpoch(sampler, self.args.seed, epoch)

    def _records(self, epoch: int) -> list[Record | None]:
        """Return the record of each row before an epoch, from the samples on disk.

        Only the main process, which writes the samples, reads them: other ranks may have another
        disk.
        """
        self.accelerator.wait_for_everyone()
        known: list[dict[str, Record]] = [{}]
        with together():
            if self.accelerator.is_main_process:
                known = [self._known_rows(epoch)]
        broadcast_object_list(known)
        rows: Any = self.train_dataset
        return [known[0].get(name) for name in rows["id"]]

    def _known_rows(self, epoch: int) -> dict[str, Record]:
        known: dict[str, Record] = {}
        if self.learning.learning_samples:
            known |= records_of(read_samples(self.learning.learning_samples))
        if self.samples is not None and self.samples.is_dir():
            own = read_samples(self.samples)
            known |= records_of(sample for sample in own if int(sample.epoch) < epoch)
        return known

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as TRL does, but greedily unless `num_generations_eval` is above 1."""
        if (self.num_generations_eval or 1) > 1:
            return super().evaluate(*args, **kwargs)
        with greedy(self):
            return super().evaluate(*args, **kwargs)
