"""OpenRLHF's reward function: a file with `reward_func(queries, prompts, labels)`.

    --reward.remote_url /path/of/clients/adapters/openrlhf.py

uses REWARD_URL and the profile math. For other settings, write a file:

    from touchstone_rewards.clients.adapters.openrlhf import reward_function
    reward_func = reward_function("r1_zero", null_reward=-1.0)

OpenRLHF passes one column, the label. To send metadata too, such as the field by which a profile
routes, make the label an object (or its JSON): `{"ground_truth": "46", "data_source": "gsm8k"}`.

A sample without a reward raises, unless `null_reward` is set. OpenRLHF logs the error, keeps the
sample without a reward and stops when it builds the batch.

Source: OpenRLHF 3c3be62, openrlhf/utils/agent.py, `SingleTurnAgentExecutor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import NoReward, rewards_of
from touchstone_rewards.clients.adapters.trl_columns import prompt_id
from touchstone_rewards.reward_server.schemas import Sample, truth_and_metadata
from touchstone_rewards.reward_server.texts import after_prompt


def reward_function(
    profile: str = "math", *, url: str | None = None, null_reward: float | None = None
) -> Callable[..., dict[str, Any]]:
    """Return the function that OpenRLHF expects under the name `reward_func`.

    It returns rewards, scores clipped to 0…1 for dynamic filtering, and the scorers' numbers. A
    query that does not contain its prompt has no reward. It raises as
    `adapters.numbers.rewards_of` does.

    Example:
        >>> reward_function("math").__name__
        'reward_func'
    """

    def reward_func(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any
    ) -> dict[str, Any]:
        rows = zip(queries, prompts, labels, strict=True)
        samples = [_sample(i, *row) for i, row in enumerate(rows)]
        whole = [sample for sample in samples if sample is not None]
        if len(whole) < len(samples) and null_reward is None:
            place = samples.index(None)
            raise NoReward(
                f"query {place} does not contain its prompt, so its response is unknown; "
                "null_reward sets a substitute"
            )
        scored = rewards_of(whole, profile, url, null_reward)
        names = scored[0][1] if scored else {"no_reward": 1.0}
        rest, none = iter(scored), (null_reward or 0.0, dict.fromkeys(names, math.nan))
        none[1]["no_reward"] = 1.0
        found = [none if sample is None else next(rest) for sample in samples]
        names = names if found else {}
        return {
            "rewards": [reward for reward, _ in found],
            "scores": [min(max(reward, 0.0), 1.0) for reward, _ in found],
            "extra_logs": {name: [scores[name] for _, scores in found] for name in names},
        }

    return reward_func


reward_func = reward_function()


def _sample(place: int, query: str, prompt: str, label: Any) -> Sample | None:
    """Return the sample, or None if the query does not contain its prompt."""
    response = after_prompt(query, prompt)
    if response is None:
        return None
    truth, metadata = truth_and_metadata(label)
    return Sample(
        id=str(place),
        response=response,
        prompt=prompt,
        ground_truth=truth,
        group_id=prompt_id(prompt),
        metadata=metadata,
    )
