"""AReaL's reward function, for a workflow of your own: see `docs/launch/areal_workflow.py`.

AReaL runs an ordinary reward function in worker processes with a limit of 15 s, and returns 0 after
four time-outs, so that a run would train on zeros during an outage. Therefore this is a coroutine
function, which the workflow awaits instead; it raises when the client's own time limit is over.

A sample without a reward raises, unless `null_reward` is set. AReaL logs the error and drops the
sample.

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
    """Return the coroutine function. Its prompt is the row's, or else the text of the tokens; the
    row's other columns are metadata. It raises as `adapters.numbers.rewards_of` does.

    Example:
        >>> reward_function("math").__name__
        'reward_fn'
    """

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
