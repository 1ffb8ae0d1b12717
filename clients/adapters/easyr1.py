"""EasyR1's batch reward function: `overall` is the reward, the other numbers are logged.

A sample without a reward raises, which ends the run, unless `null_reward` is set. EasyR1 passes no
prompts, so this is for rules, not for reward models.

    worker.reward.reward_function=/path/of/clients/adapters/easyr1.py:compute_score
    worker.reward.reward_function_kwargs='{"profile": "math"}'

Source: EasyR1 b44b311, verl/workers/reward/function.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.reward_server.schemas import Sample

REWARD_NAME = "touchstone"
REWARD_TYPE = "batch"


def compute_score(
    reward_inputs: Sequence[dict[str, Any]],
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
) -> list[dict[str, float]]:
    """One dict a sample, with the same keys.

    Raises:
        NoReward, RewardClientError: as `adapters.numbers.rewards_of` says.
    """
    samples = [
        Sample(id=str(i), response=given["response"], ground_truth=given["ground_truth"])
        for i, given in enumerate(reward_inputs)
    ]
    rewards = rewards_of(samples, profile, url, null_reward)
    return [{**scores, "overall": reward} for reward, scores in rewards]
