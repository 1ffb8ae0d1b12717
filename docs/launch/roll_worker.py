"""A reward worker for ROLL that ends the run if a reward is missing.

ROLL itself would continue with 0. Use it with

    rewards:
      touchstone:
        worker_cls: roll_worker.RewardWorker

In `reward_system_config` set `submit_url: URL/compat/roll/submit_task?profile=math` and
`get_result_url: URL/compat/roll/task_result`.
"""

from typing import Any

from roll.pipeline.rlvr.rewards import remote_reward_system_worker as remote


class Handler(remote.RewardSystemHandler):
    def get_reward(self, *sample: Any, **fields: Any) -> tuple[float, Any]:
        score, parts = super().get_reward(*sample, **fields)
        if not isinstance(score, float):
            raise RuntimeError(f"no reward for {fields.get('data_id')}: {score or 'no answer'}")
        return score, parts


remote.RewardSystemHandler = Handler
RewardWorker = remote.RemoteRewardSystemWorker
