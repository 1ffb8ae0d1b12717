"""verl's `compute_score`: one sample in, a dict with `score` and the scorers' numbers out.

The keys are the same for every sample and the values are numbers, as verl's batch assembler needs.
A sample without a reward raises, which ends the run, unless `null_reward` is set.

    reward.custom_reward_function.path=pkg://touchstone_rewards.clients.adapters.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.profile=math

Source: verl 1dda039, verl/experimental/reward_loop/reward_manager/naive.py and reward_loop.py.
"""

from __future__ import annotations

from typing import Any

from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.reward_server.schemas import Sample


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
    **_: Any,
) -> dict[str, float]:
    """Safe to call from many threads: calls that wait at the same time share requests.

    Raises:
        NoReward, RewardClientError: as `adapters.numbers.rewards_of` says.
    """
    index = (extra_info or {}).get("index")
    sample = Sample(
        id=str(data_source if index is None else f"{data_source}-{index}"),
        response=solution_str,
        ground_truth=ground_truth,
    )
    [(reward, scores)] = rewards_of([sample], profile, url, null_reward)
    return {**scores, "score": reward}
