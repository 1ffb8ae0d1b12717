"""A warning for a run that learns next to nothing: groups whose rewards are all the same.

In: the rewards of every rollout. Out: a warning within the first rollouts in which groups are
equal, with the likely causes. It stops nothing.
"""

from __future__ import annotations

import logging

from jaxtyping import Float
from torch import Tensor

from touchstone_rewards.trainer.grpo.advantages import zero_variance

logger = logging.getLogger(__name__)

LIMIT = 0.9
# By chance a rollout of few groups is all equal now and then; three in a row are not.
PATIENCE = 3


class EqualRewardsWatch:
    """Warns when in three rollouts in a row more than 90% of the groups had equal rewards.

    Rollouts are counted, not logs or updates: what `logging_steps` and `epochs_per_rollout` say
    changes nothing. It warns once of a run that never learnt, and once of one that had learnt and
    collapsed.
    """

    def __init__(self) -> None:
        self.equal_in_a_row = 0
        self.has_differed = False
        self.warned_of: set[bool] = set()

    def saw(self, rewards: Float[Tensor, " n"], group_size: int, step: int, cut: float) -> None:
        """Take in one rollout: its rewards in whole groups, NaN where a sample has none.

        `step`: the update that it is for, from 1. `cut`: the share of responses that were cut off.
        A rollout without any reward counts for nothing: an outage is no collapse.
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
    """Return what is seen, and the likely causes by the other measures.

    >>> message(1.0, 4, 0.0, 0.0, collapsed=False)[:60]
    'update 4: in 3 rollouts in a row nearly all groups had equal'
    """
    causes = []
    if cut > 0.5:
        causes.append(f"{cut:.0%} of the responses are cut off: raise max_completion_length")
    if reward > LIMIT:
        causes.append("nearly all are right: the rows are too easy for this model")
    elif reward < 1 - LIMIT and not collapsed:
        causes.append(
            "nearly none is right: rows too hard, a form that the model never hits (start from "
            "SFT, or try another prompt_template), or the wrong ground_truth_column"
        )
    if collapsed and reward <= LIMIT:
        causes.append(
            "the policy has collapsed: rewards differed before, and every response to a prompt is "
            "alike now. Go back to an earlier checkpoint with a lower learning_rate, or with beta "
            "above 0"
        )
    causes.append("responses hardly differ: raise temperature or num_generations")
    return (
        f"update {step}: in {PATIENCE} rollouts in a row nearly all groups had equal rewards "
        f"({share:.0%} in this one), and taught nothing. Likely causes: {'; '.join(causes)}"
    )
