"""EasyR1's batch reward function: `overall` is the reward, the other numbers are logged.

A sample without a reward raises, which ends the run, unless `null_reward` is set. EasyR1 passes
response and ground truth alone, so this is for rules. A fork that passes more (`prompt`,
`question`, `messages`, `signals`, `group_id`, metadata) has it sent where the profile reads it.

    worker.reward.reward_function=/path/of/clients/adapters/easyr1.py:compute_score
    worker.reward.reward_function_kwargs='{"profile": "math"}'

Source: EasyR1 b44b311, verl/workers/reward/function.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.clients.adapters.rows import from_row

REWARD_NAME = "touchstone"
REWARD_TYPE = "batch"
OWN_KEYS = ("overall",)


def compute_score(
    reward_inputs: Sequence[dict[str, Any]],
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
) -> list[dict[str, float]]:
    """Return one dict a sample, with the same keys.

    Raises:
        NoReward, RewardClientError: as `adapters.numbers.rewards_of` says.
    """
    samples = [
        from_row(str(i), given["response"], given["ground_truth"], _others(given))
        for i, given in enumerate(reward_inputs)
    ]
    rewards = rewards_of(samples, profile, url, null_reward, OWN_KEYS)
    return [{**scores, "overall": reward} for reward, scores in rewards]


def _others(given: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in given.items() if name not in ("response", "ground_truth")
    }
