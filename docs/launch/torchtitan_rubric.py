"""A reward function for torchtitan's rollouter.

Set rubric=Rubric.Config(reward_fns=[TouchstoneReward.Config()], error_reward=0.0). Without
`error_reward`, a rollout without an answer raises an error, as a missing reward does.
"""

from dataclasses import dataclass

from torchtitan.experiments.rl.rubrics import RewardFn

from touchstone_rewards.clients.adapters.texts import reward_of_async
from touchstone_rewards.clients.errors import NoReward


class TouchstoneReward(RewardFn):
    @dataclass(kw_only=True, slots=True)
    class Config(RewardFn.Config):
        profile: str = "math"
        url: str | None = None
        null_reward: float | None = None

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.options = {name: getattr(config, name) for name in ("profile", "url", "null_reward")}

    async def __call__(self, rollout, env_input) -> float:
        message = rollout.turns[-1].completion_message if rollout.turns else None
        if message is None:
            raise NoReward(f"a rollout that ended as {rollout.status} has no answer to score")
        text, truth = message.get("content") or "", env_input.ground_truth
        row = {"prompt": env_input.prompt}
        reward, _ = await reward_of_async(text, truth, row, **self.options)
        return reward
