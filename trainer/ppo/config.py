"""What can be chosen for PPO, beyond TRL's GRPO fields: the critic, GAE, the KL in the rewards.

In: fields. Out: a checked `PPOConfig`. What cannot work together is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.ppo.core import Estimator
from touchstone_rewards.trainer.ppo.value_head import CriticKind


class Single(int):
    """One response a prompt, as TRL's check of its fields lets it pass: its own advantages need a
    group of two, those of a critic need none."""

    def __lt__(self, other: int) -> bool:
        return False


@dataclass
class PPOConfig(GRPOConfig):
    """TRL's GRPO fields and PPO's own. `epsilon` clips the ratio; `num_iterations` is the number of
    passes over a batch of samples."""

    whiten_rewards: bool = field(
        default=False,
        metadata={
            "help": "Each token's reward, KL included, divided by the std over the tokens of the "
            "global batch; its mean stays. TRL's and LLaMA-Factory's."
        },
    )
    score_norm: bool = field(
        default=False,
        metadata={
            "help": "Scores less their running mean, by their running std, over all batches so "
            "far. TRL's use_score_scaling and use_score_norm."
        },
    )
    score_clip: float | None = field(
        default=None, metadata={"help": "Scores, after score_norm, within this of 0."}
    )
    gae_lambda: float = field(default=0.95, metadata={"help": "GAE's lambda, 0 to 1."})
    gamma: float = field(default=1.0, metadata={"help": "Discount a token, 0 to 1."})
    whiten_advantages: bool = field(
        default=True, metadata={"help": "Mean 0 and variance 1 over the global batch."}
    )
    kl_coef: float = field(
        default=0.01, metadata={"help": "KL to the reference, taken off each token's reward."}
    )
    kl_estimator: str = field(default="k1", metadata={"help": "k1 (log-ratio) or k3."})
    kl_target: float | None = field(
        default=None,
        metadata={"help": "Nats a response: adapts kl_coef to it. Default: kl_coef stays."},
    )
    kl_horizon: int = field(
        default=10_000, metadata={"help": "Samples over which kl_coef moves by a fifth at most."}
    )
    critic: str = field(
        default="shared", metadata={"help": "shared (a head on the policy) or separate."}
    )
    critic_model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "A reward model whose trunk and head the separate critic starts from. It must "
            "have the policy's tokenizer; it is trained whole, also beside a LoRA policy."
        },
    )
    critic_normalize: bool = field(
        default=False,
        metadata={
            "help": "Scale that head by the mean and std in the reward model's config.json: for "
            "rewards served with normalize: true."
        },
    )
    critic_learning_rate: float = field(
        default=9e-6, metadata={"help": "Of the value head, and of a separate trunk."}
    )
    vf_coef: float = field(
        default=0.1, metadata={"help": "Weight of the value loss: what reaches a shared trunk."}
    )
    value_clip: float | None = field(
        default=0.2, metadata={"help": "How far a value may leave its rollout value; null: any."}
    )
    value_warmup_steps: int = field(
        default=0, metadata={"help": "First updates, in which only the critic learns."}
    )

    def __post_init__(self) -> None:
        if self.num_generations is not None and self.num_generations < 1:
            raise ValueError(f"num_generations must be 1 or more, not {self.num_generations}")
        if self.num_generations == 1:
            self.num_generations = Single(1)
        super().__post_init__()
        self.num_generations = int(self.num_generations or 1)
        self._check_choices()
        self._check_critic()
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError("PPO maximises the weighted sum of the rewards: it has no groups")
        if self.beta:
            raise ValueError("beta would put the KL into the loss; PPO's is kl_coef, in the reward")
        if self.kl_target is not None and not (self.kl_target > 0 and self.kl_coef > 0):
            raise ValueError("kl_target adapts kl_coef: both must be positive")
        if self.deepspeed and self.value_warmup_steps:
            raise ValueError("value_warmup_steps does not work with DeepSpeed, which steps alone")

    def _check_critic(self) -> None:
        if self.critic_model_name_or_path and self.critic != "separate":
            raise ValueError("critic_model_name_or_path needs critic: separate, a trunk of its own")
        if self.critic_normalize and not self.critic_model_name_or_path:
            raise ValueError("critic_normalize belongs to critic_model_name_or_path")
        if self.score_clip is not None and self.score_clip <= 0:
            raise ValueError("score_clip must be positive, or null for no clipping")

    def _check_choices(self) -> None:
        for name, value, known in (
            ("critic", self.critic, get_args(CriticKind)),
            ("kl_estimator", self.kl_estimator, get_args(Estimator)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it is one of {', '.join(known)}")
        for name in ("gae_lambda", "gamma"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is from 0 to 1, not {getattr(self, name)}")
        for name in ("kl_coef", "value_warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("vf_coef", "critic_learning_rate", "kl_horizon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive: without it the critic learns nothing")
        if self.value_clip is not None and self.value_clip <= 0:
            raise ValueError("value_clip must be positive, or null for no clipping")
