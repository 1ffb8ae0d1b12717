"""Settings of GRPO beyond TRL's fields, each with its formula and its source.

`GrpoArguments.apply` sets TRL's fields where these express the setting; `GrpoTrainer` reads the
rest. Combinations that cannot work are refused here.

Notation: r_i is the reward of response i in a group of G, A_i its advantage, o_i its tokens, l_it
the loss of its token t, N the number of responses in an update. rho_it is the probability ratio of
a token between the current policy and the policy that sampled it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, Literal

from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.loss import (
    CLIPPED_LOSSES,
    LOSS_TYPES,
    NO_CLIP,
    LengthNormalization,
    check_loss_type,
)

TRL_EPS = 1e-4
# Our fields -> the TRL fields that set the same thing; only one of the two may be given.
TWICE = {
    "advantage": ("scale_rewards", "multi_objective_aggregation"),
    "length_normalization": ("loss_type",),
    "clip": ("epsilon", "epsilon_high", "delta"),
    "epochs_per_rollout": ("num_iterations",),
    "loss_function": ("loss_type", "epsilon", "epsilon_high", "delta", "importance_sampling_level"),
}
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (None, 1.0),
    "top_k": (None, 0, -1),
    "min_p": (None, 0.0),
}

Advantage = Literal["group_std", "group_mean", "leave_one_out", "none"]
LongPrompts = Literal["truncate_left", "filter"]


@dataclass
class GrpoArguments:
    """Parts of the algorithm, one field each. Where a field is not given, TRL's own fields decide.

    Sources: GRPO, arXiv 2402.03300; Dr. GRPO, 2503.20783; DAPO, 2503.14476; the ablations of
    wenjia5767/GRPO, after Stanford's CS336, assignment 5.
    """

    preset: str | None = field(
        default=None,
        metadata={
            "help": "Published settings: grpo, dr_grpo, dapo, gspo, cispo, rloo, reinforce, "
            "seed_grpo. Your own settings take precedence. list: print all, with sources."
        },
    )
    advantage: Advantage | None = field(
        default=None,
        metadata={
            "help": "group_std: A_i = (r_i - mean r) / (std r + advantage_eps), std with G-1 "
            "(GRPO). group_mean: A_i = r_i - mean r (Dr. GRPO). leave_one_out: A_i = r_i - the "
            "mean of the others (RLOO). none: A_i = r_i, no baseline (REINFORCE)."
        },
    )
    advantage_eps: float | None = field(
        default=None,
        metadata={"help": "Added to the std of group_std. Default: TRL's 1e-4; CS336 has 1e-6."},
    )
    length_normalization: LengthNormalization | None = field(
        default=None,
        metadata={
            "help": "masked_mean: 1/N sum_i 1/|o_i| sum_t l_it (GRPO). masked_normalize: 1/N sum_i "
            "1/T_max sum_t l_it, T_max the longest response of the rollout (CS336). token_mean: "
            "sum_it l_it / sum_i |o_i| (DAPO). constant: 1/N sum_i 1/max_completion_length "
            "sum_t l_it (Dr. GRPO)."
        },
    )
    clip: bool | None = field(
        default=None,
        metadata={
            "help": "true: l_it = -min(rho_it A_i, clip(rho_it, 1-epsilon, 1+epsilon) A_i) (PPO). "
            "false: l_it = -rho_it A_i."
        },
    )
    epochs_per_rollout: int | None = field(
        default=None,
        metadata={
            "help": "Passes over the samples of a rollout. The denominator of rho_it stays "
            "the policy that sampled them. Same as TRL's num_iterations."
        },
    )

    loss_function: str | None = field(
        default=None,
        metadata={
            "help": "module:function of your own loss; it takes touchstone_rewards.trainer."
            "grpo.loss.LossInputs and returns one number. Replaces loss_type."
        },
    )

    def __post_init__(self) -> None:
        if self.loss_function and (self.length_normalization or self.clip is not None):
            raise ValueError(
                "loss_function replaces the whole loss: leave out length_normalization and clip"
            )
        if self.advantage_eps is not None and self.advantage_eps < 0:
            raise ValueError("advantage_eps must not be negative")
        if self.epochs_per_rollout is not None and self.epochs_per_rollout < 1:
            raise ValueError("epochs_per_rollout must be 1 or more")

    @property
    def eps(self) -> float:
        """Return the epsilon added to the standard deviation of a group."""
        return TRL_EPS if self.advantage_eps is None else self.advantage_eps

    def own_advantages(self, args: GRPOConfig) -> Advantage | None:
        """Return the advantage kind if TRL has no setting for it; None if TRL computes it."""
        kind = self.advantage
        if kind is None and self.advantage_eps is not None and args.scale_rewards == "group":
            kind = "group_std"
        if kind in ("none", "leave_one_out") or (kind == "group_std" and self.eps != TRL_EPS):
            return kind
        return None

    def apply(self, args: GRPOConfig, given: Set[str] = frozenset()) -> None:
        """Set TRL's fields; `given` holds the names of the fields that the user set.

        Raises:
            InputError: two fields for the same setting were given, or TRL's loss ignores a field.
        """
        for ours, theirs in TWICE.items():
            both = [name for name in theirs if name in given]
            if getattr(self, ours) is not None and both and not (ours == "clip" and self.clip):
                raise InputError(f"{ours} and {both[0]} set the same thing: give one of them")
        check_loss_type(args.loss_type)
        if self.advantage in ("group_std", "group_mean"):
            args.scale_rewards = "group" if self.advantage == "group_std" else "none"
        if self.length_normalization is not None:
            args.loss_type = LOSS_TYPES[self.length_normalization]
        if self.epochs_per_rollout is not None:
            args.num_iterations = self.epochs_per_rollout
        self._apply_clip(args)
        if self.advantage_eps is not None and (
            self.advantage not in (None, "group_std") or args.scale_rewards != "group"
        ):
            raise InputError("advantage_eps needs advantage: group_std")
        if self.own_advantages(args) and args.multi_objective_aggregation == "normalize_then_sum":
            raise InputError("normalize_then_sum has its own advantages: leave out advantage_eps")

    def _apply_clip(self, args: GRPOConfig) -> None:
        if self.clip is None:
            return
        if args.loss_type not in CLIPPED_LOSSES:
            raise InputError(f"clip: loss_type {args.loss_type} does not clip the ratio")
        if not self.clip:
            args.epsilon, args.epsilon_high, args.delta = NO_CLIP, None, None


@dataclass
class RolloutArguments:
    """Limits on prompts, and how responses are sampled."""

    max_prompt_length: int | None = field(
        default=None, metadata={"help": "Longest prompt, in tokens. Default: no limit."}
    )
    long_prompts: LongPrompts = field(
        default="truncate_left",
        metadata={
            "help": "Handling of longer prompts. truncate_left: keep their last max_prompt_length "
            "tokens. filter: skip their rows."
        },
    )
    chat_template: str | None = field(
        default=None,
        metadata={"help": "For models without one: a .jinja file, or a name in trainer/prompts."},
    )
    force_sampling: bool = field(
        default=False,
        metadata={
            "help": "Allow top_p, top_k and min_p although they bias vLLM's importance sampling "
            "correction."
        },
    )

    def __post_init__(self) -> None:
        if self.max_prompt_length is not None and self.max_prompt_length < 1:
            raise ValueError("max_prompt_length must be 1 or more")

    def check_sampling(self, args: GRPOConfig) -> None:
        """Refuse sampling settings that bias the importance sampling correction for vLLM.

        vLLM reports probabilities before top_p, top_k and min_p are applied, but samples after
        that. The ratio to the trainer's probabilities then does not belong to the distribution
        sampled from.

        Source: huggingface/trl issue 6789.

        Raises:
            InputError: such a setting is given without `force_sampling`.
        """
        if self.force_sampling or not (args.use_vllm and args.vllm_importance_sampling_correction):
            return
        more: Any = args.generation_kwargs or {}
        chosen = {name: getattr(args, name) for name in NEUTRAL} | more
        for name, neutral in NEUTRAL.items():
            if chosen[name] not in neutral:
                raise InputError(
                    f"{name} is {chosen[name]:g}: this biases "
                    f"vLLM's importance sampling correction. Leave it out, or set "
                    "vllm_importance_sampling_correction: false, or force_sampling: true"
                )
