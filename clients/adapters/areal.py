"""AReaL's reward function, awaited by a workflow of your own: see `docs/launch/areal_workflow.py`.

AReaL runs an ordinary reward function in worker processes, 15 s each, and after four time-outs its
reward is 0: an outage would be a run on zeros. So this is a coroutine function, which those workers
cannot run: it has to be awaited in their place, and has the client's own deadline, which raises.

A sample without a reward raises, unless `null_reward` is set: AReaL logs that and drops the sample.

Source: AReaL cbff54d, areal/workflow/rlvr.py, areal/api/reward_api.py and
areal/infra/workflow_executor.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from touchstone_rewards.clients.adapters.texts import reward_of_async, with_prompt


def reward_function(
    profile: str = "math",
    *,
    url: str | None = None,
    null_reward: float | None = None,
    ground_truth_column: str = "answer",
) -> Callable[..., Awaitable[float]]:
    """Return the function to await. The prompt is the row's own, else the tokens' text; the row's
    other columns are metadata. It raises what `adapters.numbers.rewards_of` raises."""

    async def reward_fn(
        prompt: str, completions: str, prompt_ids: Any, completion_ids: Any, /, **row: Any
    ) -> float:
        truth = row.pop(ground_truth_column, None)
        reward, _ = await reward_of_async(
            completions,
            truth,
            with_prompt(row, prompt),
            profile=profile,
            url=url,
            null_reward=null_reward,
        )
        return reward

    return reward_fn
