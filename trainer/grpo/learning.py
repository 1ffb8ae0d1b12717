"""Sample efficiency: which rows are drawn, and which groups are worth an update.

Every field is off by default. `top_entropy_quantile` is TRL's own field; docs/grpo.md covers it.

Notation: p_i is the mean reward of row i in its last rollout (rewards from 0 to 1), z_i the number
of its most recent rollouts in a row in which all rewards of the group were equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import GrpoArguments


@dataclass
class LearningArguments:
    """Dynamic sampling, choice of rows, and the length penalty."""

    refill_groups: int = field(
        default=0,
        metadata={
            "help": "Dynamic sampling: replace groups with equal rewards by groups of other "
            "rows, in at most this many further rollouts. Source: DAPO, arXiv 2503.14476, "
            "section 3.2."
        },
    )
    skip_equal_retry: float | None = field(
        default=None,
        metadata={
            "help": "Skip a row for an epoch with probability 1 - skip_equal_retry^z_i. "
            "Source: GRESO, arXiv 2506.02177, equation 3."
        },
    )
    curriculum: bool = field(
        default=False,
        metadata={
            "help": "Draw rows with weight max(p_i (1 - p_i), curriculum_floor), 1/4 before "
            "their first rollout. Sources: LearnAlign, arXiv 2506.11480; LILO, 2502.12272."
        },
    )
    curriculum_floor: float = field(
        default=0.02, metadata={"help": "Least weight of a row; at most 1/4."}
    )
    learning_samples: str | None = field(
        default=None,
        metadata={
            "help": "Folder `samples` of an earlier run on the same rows, for the initial p_i "
            "and z_i. Default: unknown."
        },
    )
    overlong_cache_tokens: int | None = field(
        default=None,
        metadata={
            "help": "L_cache of the soft overlong penalty, which is 0 up to L_max - L_cache "
            "tokens, then (|o| - L_max + L_cache) / L_cache; L_max is max_completion_length. "
            "Source: DAPO, arXiv 2503.14476, equation 13."
        },
    )
    overlong_penalty_factor: float = field(
        default=1.0, metadata={"help": "The penalty at L_max tokens; 1 in DAPO."}
    )

    def __post_init__(self) -> None:
        if self.refill_groups < 0:
            raise ValueError("refill_groups must not be negative")
        if self.skip_equal_retry is not None and not 0 < self.skip_equal_retry < 1:
            raise ValueError("skip_equal_retry must be above 0 and below 1")
        if self.overlong_penalty_factor <= 0:
            raise ValueError("overlong_penalty_factor must be positive")
        if not 0 < self.curriculum_floor <= 0.25:
            raise ValueError("curriculum_floor must be above 0 and at most 1/4")

    @property
    def chooses_rows(self) -> bool:
        """Return whether rows are drawn in any other way than once per epoch each."""
        return self.curriculum or self.skip_equal_retry is not None

    def check(self, args: GRPOConfig, settings: GrpoArguments) -> None:
        """Refuse combinations that cannot work.

        Raises:
            InputError: see the messages.
        """
        cache = self.overlong_cache_tokens
        longest = args.max_completion_length or 0
        if cache is not None and not 0 < cache < longest:
            raise InputError(
                f"overlong_cache_tokens must be above 0 and below max_completion_length ({longest})"
            )
        if cache is not None and args.multi_objective_aggregation == "normalize_then_sum":
            raise InputError(
                "overlong_cache_tokens changes the sum of the rewards, but normalize_then_sum "
                "normalizes each reward: choose one"
            )
        if self.refill_groups and settings.advantage == "none":
            raise InputError("refill_groups: with advantage none, equal rewards do teach")
        if self.refill_groups and args.scale_rewards == "batch":
            raise InputError("refill_groups: scale_rewards batch would mix several rollouts")
        rows_here = args.per_device_train_batch_size * (args.steps_per_generation or 1)
        if self.refill_groups and rows_here % (args.num_generations or 1):
            raise InputError(
                "refill_groups: every process needs whole groups: per_device_train_batch_size x "
                "steps_per_generation must be a multiple of num_generations"
            )
        if self.learning_samples and not self.chooses_rows:
            raise InputError("learning_samples needs curriculum or skip_equal_retry: set one")
