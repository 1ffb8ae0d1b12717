"""OpenRLHF's Python form: a file with `reward_func(queries, prompts, labels)`.

    --reward.remote_url /path/of/clients/adapters/openrlhf.py

takes REWARD_URL and profile math; for others, give a file of your own:

    from touchstone_rewards.clients.adapters.openrlhf import reward_function
    reward_func = reward_function("r1_zero", null_reward=-1.0)

A sample without a reward raises unless `null_reward` is set: OpenRLHF logs that, leaves the sample
without a reward and stops at the next batch.

Source: OpenRLHF 3c3be62, openrlhf/utils/agent.py, `SingleTurnAgentExecutor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.clients.adapters.trl_columns import prompt_id
from touchstone_rewards.reward_server.schemas import Sample


def reward_function(
    profile: str = "math", *, url: str | None = None, null_reward: float | None = None
) -> Callable[..., dict[str, Any]]:
    """The function that OpenRLHF looks for under the name `reward_func`. It gives rewards, scores
    clipped to 0…1 for dynamic filtering, and the scorers' numbers; it raises ValueError if a query
    does not hold its prompt, and what `adapters.numbers.rewards_of` raises."""

    def reward_func(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any
    ) -> dict[str, Any]:
        samples = [
            Sample(
                id=str(i),
                response=_response(query, prompt),
                prompt=prompt,
                ground_truth=label,
                group_id=prompt_id(prompt),
            )
            for i, (query, prompt, label) in enumerate(zip(queries, prompts, labels, strict=True))
        ]
        found = rewards_of(samples, profile, url, null_reward)
        names = found[0][1] if found else {}
        return {
            "rewards": [reward for reward, _ in found],
            "scores": [min(max(reward, 0.0), 1.0) for reward, _ in found],
            "extra_logs": {name: [scores[name] for _, scores in found] for name in names},
        }

    return reward_func


reward_func = reward_function()


def _response(query: str, prompt: str) -> str:
    _, found, response = query.partition(prompt) if prompt else ("", "all", query)
    if not found:
        raise ValueError("the query does not hold its prompt; was the prompt truncated?")
    return response
