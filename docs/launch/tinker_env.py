"""An environment for tinker-cookbook that scores all responses of a group in one request.

Let the dataset builder return `TouchstoneGroup(partial(TouchstoneEnv, question, answer, renderer),
num_envs=8)` for each row.
"""

from typing import Any

from tinker_cookbook.rl.problem_env import ProblemEnv, ProblemGroupBuilder

from touchstone_rewards.clients.adapters.numbers import rewards_of_async
from touchstone_rewards.clients.adapters.rows import from_row
from touchstone_rewards.clients.adapters.trl_columns import prompt_id

PROFILE, URL, NULL_REWARD = "math", None, None


class TouchstoneEnv(ProblemEnv):
    def __init__(self, question: str, answer: str, renderer: Any, **options: Any) -> None:
        super().__init__(renderer, **{"format_coef": 0.0, **options})
        self.question, self.answer, self.response = question, answer, ""

    def get_question(self):
        return self.question

    def get_reference_answer(self):
        return self.answer

    def check_format(self, sample_str):
        return True

    def check_answer(self, sample_str):
        self.response = sample_str  # the reward is set with its group's
        return False

    async def step(self, action, *, extra=None):
        found = await super().step(action, extra=extra)
        found.metrics.pop("correct")  # not known yet
        return found


class TouchstoneGroup(ProblemGroupBuilder):
    async def compute_group_rewards(self, trajectory_group, env_group):
        samples = [
            from_row(
                str(place),
                env.response,
                env.get_reference_answer(),
                {"prompt": env.get_question()},
                group=prompt_id(env.get_question()),
            )
            for place, env in enumerate(env_group)
        ]
        return await rewards_of_async(samples, PROFILE, URL, NULL_REWARD)
