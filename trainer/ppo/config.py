"""Settings of PPO beyond TRL's GRPO fields: the critic, GAE, the KL penalty in the rewards.

`PPOConfig` checks its fields, and refuses combinations that cannot work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.ppo.core import Estimator
from touchstone_rewards.trainer.ppo.value_head import CriticKind


class Single(int):
    """The number 1 for `num_generations`, which passes TRL's check for at least two generations.

    TRL's group advantages need two responses per prompt; a critic's advantages do not.
    """

    def __lt__(self, other: int) -> bool:
        return False


@dataclass
class PPOConfig(GRPOConfig):
    """TRL's GRPO fields and PPO's own. `epsilon` clips the ratio; `num_iterations` is the number of
    passes over a batch of samples."""

    whiten_rewards: bool = field(
        default=False,
        metadata={
            "help": "Divide each token's reward (with its KL penalty) by the std over the "
            "tokens of the global batch, keeping the mean, as in TRL."
        },
    )
    score_norm: bool = field(
        default=False,
        metadata={
            "help": "Normalize scores by their running mean and std over all batches so "
            "far. Same as TRL's use_score_scaling and use_score_norm."
        },
    )
    score_clip: float | None = field(
        default=None, metadata={"help": "Clip scores, after score_norm, to [-x, x]."}
    )
    gae_lambda: float = field(default=0.95, metadata={"help": "Lambda of GAE, 0 to 1."})
    gamma: float = field(default=1.0, metadata={"help": "Discount per token, 0 to 1."})
    whiten_advantages: bool = field(
        default=True,
        metadata={"help": "Scale advantages to mean 0, variance 1 over the global batch."},
    )
    kl_coef: float = field(
        default=0.01,
        metadata={"help": "Weight of the KL penalty in the token rewards."},
    )
    kl_estimator: str = field(default="k1", metadata={"help": "k1 (log-ratio) or k3."})
    kl_target: float | None = field(
        default=None,
        metadata={"help": "Target KL per response in nats; adapts kl_coef. Default: none."},
    )
    kl_horizon: int = field(
        default=10_000, metadata={"help": "kl_coef changes by at most 20% over this many samples."}
    )
    critic: str = field(
        default="shared", metadata={"help": "shared (a value head on the policy) or separate."}
    )
    critic_model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Reward model that initializes trunk and head of a separate critic. It must "
            "have the policy's tokenizer; all its weights are trained, even with a LoRA policy."
        },
    )
    critic_normalize: bool = field(
        default=False,
        metadata={
            "help": "Scale that head by the mean and std in the reward model's config.json, for "
            "rewards served with normalize: true."
        },
    )
    critic_learning_rate: float = field(
        default=9e-6, metadata={"help": "Learning rate of the value head and of a separate trunk."}
    )
    vf_coef: float = field(
        default=0.1,
        metadata={"help": "Weight of the value loss, which also reaches a shared trunk."},
    )
    value_clip: float | None = field(
        default=0.2,
        metadata={"help": "Largest change of a value since the rollout; null: no limit."},
    )
    value_warmup_steps: int = field(
        default=0, metadata={"help": "Number of first updates in which only the critic is trained."}
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
            raise ValueError(
                "multi_objective_aggregation must be sum_then_normalize: PPO has no groups"
            )
        if self.beta:
            raise ValueError(
                "beta adds the KL to the loss; PPO subtracts it from the rewards: use kl_coef"
            )
        if self.kl_target is not None and not (self.kl_target > 0 and self.kl_coef > 0):
            raise ValueError("kl_target adapts kl_coef: both must be positive")
        if self.deepspeed and self.value_warmup_steps:
            raise ValueError(
                "value_warmup_steps does not work with DeepSpeed, which runs its own optimizer step"
            )

    def _check_critic(self) -> None:
        if self.critic_model_name_or_path and self.critic != "separate":
            raise ValueError("critic_model_name_or_path needs critic: separate")
        if self.critic_normalize and not self.critic_model_name_or_path:
            raise ValueError("critic_normalize needs critic_model_name_or_path")
        if self.score_clip is not None and self.score_clip <= 0:
            raise ValueError("score_clip must be positive, or null for no clipping")

    def _check_choices(self) -> None:
        for name, value, known in (
            ("critic", self.critic, get_args(CriticKind)),
            ("kl_estimator", self.kl_estimator, get_args(Estimator)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        for name in ("gae_lambda", "gamma"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("kl_coef", "value_warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("vf_coef", "critic_learning_rate", "kl_horizon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, otherwise the critic learns nothing")
        if self.value_clip is not None and self.value_clip <= 0:
            raise ValueError("value_clip must be positive, or null for no clipping")
