"""ROLL's reward worker, asking this server. It ends the run where a reward is missing: ROLL itself
goes on with 0.

    rewards:
      touchstone:
        worker_cls: roll_worker.RewardWorker
        system_envs: {REWARD_URL: "http://127.0.0.1:8700", REWARD_PROFILE: math}
        model_args: {model_name_or_path: ...}  # for its tokenizer
        world_size: 8
        tag_included: [...]
"""

import os
from typing import Any

from roll.distributed.scheduler.decorator import Dispatch, register
from roll.pipeline.rlvr.rewards import remote_reward_system_worker as remote


class Handler(remote.RewardSystemHandler):
    def get_reward(self, *sample: Any, **fields: Any) -> tuple[float, Any]:
        score, parts = super().get_reward(*sample, **fields)
        if not isinstance(score, float):
            raise RuntimeError(f"no reward for {fields.get('data_id')}: {score or 'no answer'}")
        return score, parts


remote.RewardSystemHandler = Handler


class RewardWorker(remote.RemoteRewardSystemWorker):
    @register(dispatch_mode=Dispatch.DP_MP_COMPUTE, clear_cache=False)
    def compute_rewards(self, data: Any) -> Any:
        url = f"{os.environ['REWARD_URL']}/compat/roll"
        data.meta_info["reward_system_config"] = {
            "submit_url": f"{url}/submit_task?profile={os.environ['REWARD_PROFILE']}",
            "get_result_url": f"{url}/task_result",
        }
        return super().compute_rewards(data)
