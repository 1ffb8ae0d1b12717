"""A warning for a run that hardly learns: nearly all groups have equal rewards.

The watch sees the rewards of every rollout and logs a warning with the likely causes. It never
stops a run.
"""

from __future__ import annotations

import logging

from jaxtyping import Float
from torch import Tensor

from touchstone_rewards.trainer.grpo.advantages import zero_variance

logger = logging.getLogger(__name__)

LIMIT = 0.9
# A rollout of few groups may be all equal by chance; three in a row are not chance.
PATIENCE = 3


class EqualRewardsWatch:
    """Warns when more than 90% of the groups had equal rewards in three rollouts in a row.

    It counts rollouts, not logs or updates, so `logging_steps` and `epochs_per_rollout` do not
    affect it. It warns once if the run has never learnt, and once if it had learnt and then
    collapsed.
    """

    def __init__(self) -> None:
        self.equal_in_a_row = 0
        self.has_differed = False
        self.warned_of: set[bool] = set()

    def saw(self, rewards: Float[Tensor, " n"], group_size: int, step: int, cut: float) -> None:
        """Record one rollout: its rewards in whole groups, NaN where a sample has none.

        `step` is the rollout's first update, from 1; `cut` the share of truncated responses. A
        rollout without any reward is ignored: an outage is not a collapse.
        """
        scored = int((~rewards.view(-1, group_size).isnan()).any(dim=1).sum())
        if not scored:
            return
        share = int(zero_variance(rewards, group_size).sum()) / scored
        if share <= LIMIT:
            self.has_differed, self.equal_in_a_row = True, 0
            return
        self.equal_in_a_row += 1
        if self.equal_in_a_row >= PATIENCE and self.has_differed not in self.warned_of:
            self.warned_of.add(self.has_differed)
            mean = float(rewards.nanmean())
            logger.warning(message(share, step, mean, cut, collapsed=self.has_differed))


def message(share: float, step: int, reward: float, cut: float, *, collapsed: bool) -> str:
    """Return the warning, with the likely causes given the other measures.

    >>> message(1.0, 4, 0.0, 0.0, collapsed=False)[:60]
    'update 4: in 3 rollouts in a row nearly all groups had equal'
    """
    causes = []
    if cut > 0.5:
        causes.append(f"{cut:.0%} of the responses are cut off: raise max_completion_length")
    if reward > LIMIT:
        causes.append("nearly all responses are right: the rows are too easy for this model")
    elif reward < 1 - LIMIT and not collapsed:
        causes.append(
            "nearly no response is right: the rows are too hard, the model never produces the "
            "format (start from SFT, or try another prompt_template), or ground_truth_column is "
            "wrong"
        )
    if collapsed and reward <= LIMIT:
        causes.append(
            "the policy has collapsed: rewards differed before, but now all responses to a prompt "
            "are alike. Go back to an earlier checkpoint with a lower learning_rate, or with "
            "beta above 0"
        )
    causes.append("responses hardly differ: raise temperature or num_generations")
    return (
        f"update {step}: in {PATIENCE} rollouts in a row nearly all groups had equal rewards "
        f"({share:.0%} in this one), which teach nothing. Likely causes: {'; '.join(causes)}"
    )
