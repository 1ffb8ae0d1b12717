"""The reward of one response, for trainers that call Python: a function, verifier or environment.

`docs/launch` has files for open-instruct, SkyRL, torchtitan and tinker-cookbook. A sample without a
reward raises, unless `null_reward` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from touchstone_rewards.clients.adapters.numbers import Numbers, rewards_of, rewards_of_async
from touchstone_rewards.clients.adapters.rows import from_row
from touchstone_rewards.clients.adapters.trl_columns import prompt_id
from touchstone_rewards.reward_server.schemas import Sample


def reward_of(
    response: str,
    ground_truth: Any = None,
    row: Mapping[str, Any] | None = None,
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
) -> Numbers:
    """Return the reward, and the scorers' numbers with `no_reward`.

    The prompt is the row's `prompt`, `question` or `messages`. The group is its `group_id`, or else
    the prompt's hash. `signals` are sent as such, and all other fields are metadata. Only fields
    that the profile reads are sent.

    Example:
        >>> reward_of("It is \\\\boxed{46}.", "46")  # doctest: +SKIP
        (1.0, {'math': 1.0, 'format': 0.0, 'no_reward': 0.0})

    Raises:
        NoReward, RewardClientError: as `adapters.numbers.rewards_of` does.
    """
    [found] = rewards_of([_sample(response, ground_truth, row or {})], profile, url, null_reward)
    return found


async def reward_of_async(
    response: str,
    ground_truth: Any = None,
    row: Mapping[str, Any] | None = None,
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
) -> Numbers:
    """Return the reward as `reward_of` does. Concurrent calls share requests."""
    sample = _sample(response, ground_truth, row or {})
    [found] = await rewards_of_async([sample], profile, url, null_reward)
    return found


def with_prompt(row: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """Return the row, with this prompt if it has none."""
    return {**row, "prompt": prompt} if from_row("", "", None, row).prompt is None else {**row}


def _sample(response: str, ground_truth: Any, row: Mapping[str, Any]) -> Sample:
    sample = from_row("0", response, ground_truth, row)
    if sample.group_id is None and sample.prompt is not None:
        sample.group_id = prompt_id(msgspec.to_builtins(sample.prompt))
    return sample
