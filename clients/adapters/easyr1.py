"""EasyR1's batch reward function: `overall` is the reward, the other numbers are logged.

A sample without a reward raises, which ends the run, unless `null_reward` is set. EasyR1 passes on
the response and the answer column alone. If an answer is an object with `ground_truth` and other
keys, the other keys are the row: `prompt`, `question` or `messages`, `signals`, `group_id`, and
metadata. A fork may pass these beside the answer. The profile's fields are sent, and no others.

    worker.reward.reward_function=/path/of/clients/adapters/easyr1.py:compute_score
    worker.reward.reward_function_kwargs='{"profile": "math"}'

Source: EasyR1 b44b311, verl/workers/reward/function.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.clients.adapters.rows import from_row
from touchstone_rewards.reward_server.schemas import Sample, truth_and_metadata

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

    Example:
        >>> compute_score([{"response": "It is 46.", "ground_truth": "46"}])  # doctest: +SKIP
        [{'math': 1.0, 'no_reward': 0.0, 'overall': 1.0}]

    Raises:
        NoReward, RewardClientError: as `adapters.numbers.rewards_of` does.
    """
    samples = [_sample(str(i), given) for i, given in enumerate(reward_inputs)]
    rewards = rewards_of(samples, profile, url, null_reward, OWN_KEYS)
    return [{**scores, "overall": reward} for reward, scores in rewards]


def _sample(name: str, given: dict[str, Any]) -> Sample:
    ground_truth, row = truth_and_metadata(given["ground_truth"])
    row |= {key: value for key, value in given.items() if key not in ("response", "ground_truth")}
    return from_row(name, given["response"], ground_truth, row)
