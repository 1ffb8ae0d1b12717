"""Tunix's reward function. A learner takes `reward_fns=reward_function("math")`; the command line
takes a file of `reward_functions`:

    from touchstone_rewards.clients.adapters.tunix import reward_function
    scored = reward_function("math")
    def touchstone(prompts, completions, **kwargs):
        return scored(prompts, completions, **kwargs)

Tunix adds rewards with `nansum`, which would turn None into 0. Therefore a sample without a reward
raises, which ends the run, unless `null_reward` is set.

Source: Tunix c7d8950, tunix/rl/reward_manager.py and tunix/cli/config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from touchstone_rewards.clients.adapters.ms_swift import RemoteReward
from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.clients.adapters.trl_columns import prompt_id


def reward_function(
    profile: str = "math",
    *,
    url: str | None = None,
    null_reward: float | None = None,
    ground_truth_column: str | None = None,
) -> Callable[..., list[float]]:
    """Return the function that Tunix calls. Its name, which Tunix logs, is the profile's.

    The default ground truth column is `answer`. The other columns and the exceptions are those of
    `adapters.ms_swift.RemoteReward`.

    Example:
        >>> reward_function("math").__name__
        'math'
    """
    columns = RemoteReward()
    truth = columns.ground_truth_column = ground_truth_column or columns.ground_truth_column

    def reward_fn(prompts: Sequence[str], completions: Sequence[str], **kwargs: Any) -> list[float]:
        groups = [prompt_id(prompt) for prompt in prompts]
        given = {"group_id": groups, **kwargs, "prompt": prompts}
        if ground_truth_column is None:
            given[truth] = given.pop("answer", None)
        samples = columns.samples(completions, given)
        return [reward for reward, _ in rewards_of(samples, profile, url, null_reward)]

    reward_fn.__name__ = profile
    return reward_fn
