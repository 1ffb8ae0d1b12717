"""PPO: TRL's GRPO trainer with a critic, and GAE advantages instead of group advantages.

Rollout, vLLM, ratio clipping, LoRA, logging and checkpoints are TRL's. This class turns the rewards
into per-token advantages and returns, and adds the value loss. A sample without a reward is masked
out: it changes neither the policy nor the critic.

Source: `GRPOTrainer` of trl 1.16, whose `_compute_loss` accepts per-token advantages.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.ppo import core
from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.reward_start import starting_critic
from touchstone_rewards.trainer.ppo.value_head import (
    CriticKind,
    attach_critic,
    is_critics,
    load_critic,
    save_critic,
    train_adapter,
    without_critic,
)

BY_RESPONSES = ("grpo", "sapo", "dr_grpo", "luspo")
STATE_FILE = "ppo_state.json"


class PPOTrainer(GrpoTrainer):
    """`GrpoTrainer` with a critic; `args` is a `PPOConfig`."""

    args: PPOConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    learns_from_differences = False

    def __init__(
        self, *, args: PPOConfig, callbacks: Sequence[TrainerCallback] = (), **kwargs: Any
    ) -> None:
        with_adapter = kwargs.get("peft_config") or isinstance(kwargs.get("model"), PeftModel)
        own_trunk = args.critic_model_name_or_path is not None
        if (
            args.critic == "separate"
            and not own_trunk
            and with_adapter
            and args.gradient_checkpointing
        ):
            raise InputError(
                "critic: separate with LoRA needs gradient_checkpointing: false; the recomputation "
                "in the backward pass would run the critic with the policy's adapter"
            )
        # TRL loads and evaluates a reference policy if beta is not 0; `_compute_loss` sets beta to
        # 0.
        args.beta = args.kl_coef
        super().__init__(args=args, callbacks=[*callbacks, HoldPolicy()], **kwargs)
        self.kl_coef = args.kl_coef
        self.running_scores = core.RunningScores()
        start = starting_critic(args, cast(Any, self.model).dtype)
        self.critic = attach_critic(cast(Any, self.model), cast(CriticKind, args.critic), start)
        if self.use_vllm:
            generation: Any = self.vllm_generation
            generation._iter_named_params = without_critic(generation._iter_named_params)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        self._thaw_critic()
        if not cast(Any, self.model).training:
            return batch
        if "tool_mask" in batch:
            raise InputError(
                "PPO does not support tools: a response must be one contiguous run of tokens"
            )
        rewarded = ~self.rewards_here.isnan()
        mask = batch["completion_mask"] * rewarded[:, None]
        batch["completion_mask"] = mask
        batch["num_items_in_batch"] = cast(Tensor, self.accelerator.gather(mask.sum())).sum()
        counts = self._sum(torch.stack([rewarded.sum(), torch.tensor(len(mask)).to(mask.device)]))
        batch["rewarded_share"] = counts[0] / counts[1]
        logps, values = self._logps_and_values(batch)
        scores = self._scores(self.rewards_here).to(logps.dtype)
        return batch | self._targets(
            scores.nan_to_num(), logps, batch.get("ref_per_token_logps"), values, mask
        )

    def _scores(self, rewards: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return this rank's rewards after normalization and clipping, NaN where there is none."""
        args = self.args
        if args.score_norm:
            self.running_scores.update(rewards[~rewards.isnan()], self._sum)
            rewards = self.running_scores.normalised(rewards)
            self._metrics["train"]["score_norm/mean"].append(self.running_scores.mean)
            std = math.sqrt(self.running_scores.variance)
            self._metrics["train"]["score_norm/std"].append(std)
        return (
            rewards if args.score_clip is None else rewards.clamp(-args.score_clip, args.score_clip)
        )

    def _thaw_critic(self) -> None:
        """Make the critic's adapter trainable again.

        PEFT freezes all adapters but the policy's when it loads one, and when it disables and
        enables the policy's adapter to evaluate the reference policy.
        """
        if isinstance(self.model, PeftModel):
            train_adapter(self.model)

    @torch.no_grad()
    def _logps_and_values(self, batch: dict[str, Any]) -> tuple[core.PerToken, core.PerToken]:
        """Return log-probabilities and values under the policy that drew the samples.

        The value of a token is the value of the state before it.
        """
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        tokens = batch["completion_ids"].shape[1]
        with self.critic.listening() as heard:
            logps, _, _ = self._get_per_token_logps_and_entropies(
                self.model, ids, attention, tokens, self.args.per_device_train_batch_size
            )
        return logps, torch.cat(heard)[:, -tokens - 1 : -1]

    def _targets(
        self,
        scores: Float[Tensor, " batch"],
        logps: core.PerToken,
        ref_logps: core.PerToken | None,
        values: core.PerToken,
        mask: core.Mask,
    ) -> dict[str, Tensor]:
        args = self.args
        estimator = cast(core.Estimator, args.kl_estimator)
        rewards = core.shaped_rewards(
            scores, logps, ref_logps, mask, kl_coef=self.kl_coef, estimator=estimator
        )
        if args.whiten_rewards:
            rewards = core.rewards_whitened(rewards, mask, self._sum)
        advantages, returns = core.gae(rewards, values, mask, gamma=args.gamma, lam=args.gae_lambda)
        explained = core.explained_variance(values, returns, mask, self._sum)
        self._log("value/explained_variance", explained)
        self._log("value/mean", core.moments(values, mask, self._sum)[0])
        self._log("value/return", core.moments(returns, mask, self._sum)[0])
        if ref_logps is not None:
            self._follow_kl(core.token_kl(logps, ref_logps, "k1"), mask)
        if args.whiten_advantages:
            advantages = core.whitened(advantages, mask, self._sum)
        return {"advantages": advantages, "returns": returns, "old_values": values}

    def _follow_kl(self, kl: core.PerToken, mask: core.Mask) -> None:
        """Log the KL per response, and adapt the coefficient if a target is set."""
        responses = cast(Tensor, mask).sum(dim=1).clamp(max=1).sum()
        total, count = self._sum(torch.stack([(kl * mask).sum(), responses.to(kl.dtype)])).tolist()
        mean = total / max(count, 1)
        self._metrics["train"]["kl"].append(mean)
        self._metrics["train"]["kl_coef"].append(self.kl_coef)
        if self.args.kl_target is not None and count:
            self.kl_coef = core.adapted_kl_coef(
                self.kl_coef,
                mean,
                target=self.args.kl_target,
                samples=int(count),
                horizon=self.args.kl_horizon,
            )

    def _compute_loss(self, model: object, inputs: dict[str, Any]) -> Tensor:
        with self.critic.listening() as heard, self._kl_stays_out_of_the_loss():
            loss = super()._compute_loss(model, inputs)
        if "old_values" not in inputs:  # an evaluation batch
            return loss
        if self.loss_type in BY_RESPONSES:
            # These divide by the number of responses; those without a reward must not count.
            loss = loss / inputs["rewarded_share"].clamp(min=1e-6)
        tokens = inputs["completion_ids"].shape[1]
        return loss + self.args.vf_coef * self._value_loss(heard[0][:, -tokens - 1 : -1], inputs)

    def _value_loss(self, values: core.PerToken, inputs: dict[str, Any]) -> Tensor:
        """Return the value loss, averaged over the tokens of the update on all ranks, as in TRL's
        `dapo` loss."""
        mask = inputs["completion_mask"]
        loss, clipped = core.value_loss(
            values, inputs["old_values"], inputs["returns"], self.args.value_clip
        )
        total, clips, tokens = (loss * mask).sum(), (clipped * mask).sum(), mask.sum()
        sums = self._sum(torch.stack([total.detach(), clips.float(), tokens.float()]))
        self._log("value/loss", sums[0] / sums[2].clamp(min=1))
        self._log("value/clip_frac", sums[1] / sums[2].clamp(min=1))
        share = self.current_gradient_accumulation_steps / cast(int, self.args.steps_per_generation)
        normalizer = inputs["num_items_in_batch"].clamp(min=1) / self.accelerator.num_processes
        return total / (normalizer * share)

    @contextmanager
    def _kl_stays_out_of_the_loss(self) -> Any:
        beta, self.beta = self.beta, 0.0
        try:
            yield
        finally:
            self.beta = beta

    def _sum(self, total: Tensor) -> Tensor:
        return cast(Tensor, self.accelerator.reduce(total, reduction="sum"))

    def _log(self, name: str, value: Tensor) -> None:
        self._metrics["train"][name].append(float(value))

    def create_optimizer(self, model: object = None) -> torch.optim.Optimizer:
        """Create TRL's optimizer, with a separate parameter group and learning rate for the
        critic."""
        if self.optimizer is None:
            optimizer = super().create_optimizer(model)
            named = cast(Any, model or self.model).named_parameters()
            own = {id(each): each for name, each in named if is_critics(name)}
            for group in optimizer.param_groups:
                group["params"] = [each for each in group["params"] if id(each) not in own]
            rate = self.args.critic_learning_rate
            group = {"params": list(own.values()), "lr": rate, "weight_decay": 0.0, "critic": True}
            optimizer.add_param_group(group)
        return cast(torch.optim.Optimizer, self.optimizer)

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip the critic's gradients separately, so that its large errors do not shrink the
        policy's step.

        Where gradients are sharded or scaled, clip them together, as TRL does.
        """
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or self.accelerator.scaler is not None:
            return super()._clip_grad_norm(model)
        critics = [each for name, each in model.named_parameters() if is_critics(name)]
        others = [each for name, each in model.named_parameters() if not is_critics(name)]
        self.accelerator.clip_grad_norm_(critics, self.args.max_grad_norm)
        return self.accelerator.clip_grad_norm_(others, self.args.max_grad_norm)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save the model as TRL does, plus the critic and the KL coefficient.

        This runs before the trainer's own state is written, which marks a checkpoint as complete.
        """
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or cast(str, self.args.output_dir))
            save_critic(self.critic, folder)
            running = asdict(self.running_scores)
            state = json.dumps({"kl_coef": self.kl_coef, "running_scores": running})
            (folder / STATE_FILE).write_text(state + "\n", encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_critic(self.critic, resume_from_checkpoint)
        self._thaw_critic()
        state = Path(resume_from_checkpoint) / STATE_FILE
        if state.is_file():
            known = json.loads(state.read_text(encoding="utf-8"))
            self.kl_coef = known["kl_coef"]
            self.running_scores = core.RunningScores(**known.get("running_scores", {}))


class HoldPolicy(TrainerCallback):
    """Trains only the critic in the first `value_warmup_steps` updates.

    The policy's gradients are set to None, not to 0, so that momentum and weight decay have no
    effect.
    """

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if state.global_step >= cast(PPOConfig, args).value_warmup_steps:
            return
        for group in kwargs["optimizer"].param_groups:
            if not group.get("critic"):
                for parameter in group["params"]:
                    parameter.grad = None
