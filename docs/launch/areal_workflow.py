"""workflow="areal_workflow.Workflow" for AReaL's `trainer.train`, with `gconfig` and `tokenizer` as
its `workflow_kwargs`. AReaL's own wrapper makes a reward of 0 of a time-out, so it is replaced."""

from typing import Any

from areal.workflow.rlvr import RLVRWorkflow

from touchstone_rewards.clients.adapters.areal import reward_function

reward = reward_function("math", ground_truth_column="answer")


class Workflow(RLVRWorkflow):
    def __init__(self, **options: Any) -> None:
        super().__init__(reward_fn=reward, **options)
        self.async_reward_fn = reward
