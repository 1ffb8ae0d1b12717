"""rLLM's reward function, for example for `SimpleWorkflow`:

    from touchstone_rewards.clients.adapters.rllm import reward_function
    workflow_args = {"reward_function": reward_function("math")}

A sample without a reward raises, unless `null_reward` is set. rLLM retries the task, then stops,
or, with `raise_on_error=False`, returns an episode without steps.

Source: rLLM 9beb6e0, rllm/rewards/reward_fn.py, rllm/rewards/reward_types.py,
rllm/workflows/simple_workflow.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from touchstone_rewards.clients.adapters.texts import reward_of


def reward_function(
    profile: str = "math",
    *,
    url: str | None = None,
    null_reward: float | None = None,
    ground_truth_key: str = "ground_truth",
) -> Callable[..., Any]:
    """Return the function that rLLM calls. It returns a `RewardOutput` with the scorers' numbers as
    metadata, and raises as `adapters.numbers.rewards_of` does.

    Example:
        >>> reward_function("math").__name__
        'touchstone'
    """

    def touchstone(task_info: Mapping[str, Any], action: Any) -> Any:
        row = {key: value for key, value in task_info.items() if key != ground_truth_key}
        text = getattr(action, "action", action)  # workflows wrap the text in an `Action`
        truth = task_info.get(ground_truth_key)
        reward, scores = reward_of(
            text, truth, row, profile=profile, url=url, null_reward=null_reward
        )
        return import_module("rllm.rewards.reward_types").RewardOutput(
            reward=reward, metadata=scores
        )

    return touchstone
