"""ms-swift's reward class, for a plugin file of your own:

    from swift.rewards import orms
    from touchstone_rewards.clients.adapters.ms_swift import RemoteReward
    orms["touchstone"] = RemoteReward

and `--external_plugins plugin.py --reward_funcs touchstone`. For another profile, register a
subclass with `profile = "…"`. ms-swift sums rewards with `nansum`, so that a None would become a
reward of 0: a sample without a reward raises, unless the class has a `null_reward`.

Source: ms-swift 3602360, swift/rewards/orm.py and swift/rlhf_trainers/grpo_trainer.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import rewards_of
from touchstone_rewards.reward_server.schemas import Sample


class RemoteReward:
    """Called with the completions and the dataset's columns; `solution` is the ground truth."""

    profile = "math"
    url: str | None = None
    null_reward: float | None = None
    ground_truth_column = "solution"

    def __init__(self, args: Any = None, **_: Any) -> None:
        self.args = args

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        """One reward a completion.

        Raises:
            NoReward, RewardClientError: as `adapters.numbers.rewards_of` says.
        """
        truths = columns.get(self.ground_truth_column) or [None] * len(completions)
        samples = [
            Sample(id=str(i), response=completion, ground_truth=truth)
            for i, (completion, truth) in enumerate(zip(completions, truths, strict=True))
        ]
        found = rewards_of(samples, self.profile, self.url, self.null_reward)
        return [reward for reward, _ in found]
