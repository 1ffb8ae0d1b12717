"""A workflow for AReaL: workflow="areal_workflow.Workflow" in `trainer.train`.

Pass `gconfig` and `tokenizer` as `workflow_kwargs`. AReaL's own wrapper turns a time-out into a
reward of 0, so it is replaced.
"""

from typing import Any

from areal.workflow.rlvr import RLVRWorkflow

from touchstone_rewards.clients.adapters.areal import reward_function

reward = reward_function("math", ground_truth_column="answer")


class Workflow(RLVRWorkflow):
    def __init__(self, **options: Any) -> None:
        super().__init__(reward_fn=reward, **options)
        self.async_reward_fn = reward
