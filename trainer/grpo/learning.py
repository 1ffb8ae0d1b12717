"""Learning more from the same GPU: which rows are drawn, and which groups are worth an update.

In: fields. Out: checked fields; every one is off unless it is asked for. `top_entropy_quantile` is
TRL's own field and stands here only in the docs.

p_i is the mean reward of row i in its last rollout (rewards from 0 to 1), z_i the number of its
last rollouts in a row in which all rewards of the group were equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import GrpoArguments


@dataclass
class LearningArguments:
    """Fields of the sampler, of the rollout and of the reward."""

    refill_groups: int = field(
        default=0,
        metadata={
            "help": "Dynamic sampling: groups with equal rewards are replaced by groups of other "
            "rows, in so many further rollouts at most. Source: DAPO, arXiv 2503.14476, "
            "section 3.2."
        },
    )
    skip_equal_retry: float | None = field(
        default=None,
        metadata={
            "help": "A row is passed over for an epoch with probability 1 - skip_equal_retry^z_i. "
            "Source: GRESO, arXiv 2506.02177, equation 3."
        },
    )
    curriculum: bool = field(
        default=False,
        metadata={
            "help": "Rows are drawn with weight max(p_i (1 - p_i), curriculum_floor), 1/4 before "
            "their first rollout. Sources: LearnAlign, arXiv 2506.11480; LILO, 2502.12272."
        },
    )
    curriculum_floor: float = field(
        default=0.02, metadata={"help": "The least weight of a row; 1/4 is the most."}
    )
    learning_samples: str | None = field(
        default=None,
        metadata={
            "help": "A folder `samples` of an earlier run over the same rows, for the first p_i "
            "and z_i. Default: they begin unknown."
        },
    )
    overlong_cache_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Soft overlong penalty, L_cache. The reward loses 0 up to L_max - L_cache "
            "tokens, then (|o| - L_max + L_cache) / L_cache, L_max being max_completion_length. "
            "Source: DAPO, arXiv 2503.14476, equation 13."
        },
    )
    overlong_penalty_factor: float = field(
        default=1.0, metadata={"help": "What that penalty is at L_max tokens; DAPO has 1."}
    )

    def __post_init__(self) -> None:
        if self.refill_groups < 0:
            raise ValueError("refill_groups must not be negative")
        if self.skip_equal_retry is not None and not 0 < self.skip_equal_retry < 1:
            raise ValueError("skip_equal_retry is a probability, above 0 and below 1")
        if self.overlong_penalty_factor <= 0:
            raise ValueError("overlong_penalty_factor must be positive")
        if not 0 < self.curriculum_floor <= 0.25:
            raise ValueError("curriculum_floor is above 0 and 1/4 at most")

    @property
    def chooses_rows(self) -> bool:
        """Whether rows are drawn otherwise than each once an epoch."""
        return self.curriculum or self.skip_equal_retry is not None

    def check(self, args: GRPOConfig, settings: GrpoArguments) -> None:
        """Refuse what does not go together.

        Raises:
            InputError: see the messages.
        """
        cache = self.overlong_cache_tokens
        longest = args.max_completion_length or 0
        if cache is not None and not 0 < cache < longest:
            raise InputError(
                f"overlong_cache_tokens is above 0 and below max_completion_length ({longest})"
            )
        if cache is not None and args.multi_objective_aggregation == "normalize_then_sum":
            raise InputError(
                "overlong_cache_tokens changes the sum of the rewards, normalize_then_sum "
                "normalises each of them: choose one"
            )
        if self.refill_groups and settings.advantage == "none":
            raise InputError("refill_groups: without a baseline groups of equal rewards do teach")
        if self.refill_groups and args.scale_rewards == "batch":
            raise InputError("refill_groups: scale_rewards batch would mix several rollouts")
        rows_here = args.per_device_train_batch_size * (args.steps_per_generation or 1)
        if self.refill_groups and rows_here % (args.num_generations or 1):
            raise InputError(
                "refill_groups: each process must have whole groups: per_device_train_batch_size x "
                "steps_per_generation must be a multiple of num_generations"
            )
        if self.learning_samples and not self.chooses_rows:
            raise InputError("learning_samples is for curriculum or skip_equal_retry: set one")
