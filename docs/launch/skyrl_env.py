"""An environment for SkyRL.

Call register(id="touchstone", entry_point="skyrl_env:TouchstoneEnv") in SkyRL's entry point, and
set `env_class: touchstone` in the rows.
"""

from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from touchstone_rewards.clients.adapters.texts import reward_of

OPTIONS: dict[str, Any] = {"profile": "math"}  # and url, null_reward


class TouchstoneEnv(BaseTextEnv):
    def __init__(self, env_config: Any = None, extras: Any = None) -> None:
        super().__init__()
        others = dict(extras or {})
        self.ground_truth = others.pop("reward_spec", {}).get("ground_truth")
        self.row = {**others.pop("extra_info", {}), **others}

    def init(self, prompt):
        self.row["prompt"] = prompt
        return prompt, {}

    def step(self, action):
        reward, scores = reward_of(action, self.ground_truth, self.row, **OPTIONS)
        return BaseTextEnvStepOutput(observations=[], reward=reward, done=True, metadata=scores)
