"""ROLL's reward system handler, which submits and polls, and what its worker makes of the scores.

Then the same with docs/launch/roll_worker.py, which ends the run where ROLL would go on with 0.
"""

from __future__ import annotations

import concurrent.futures
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional, Union

import requests
import torch
from stubs import Stub, definitions, load, module, outcome

CHECKOUT, REWARD_URL, LAUNCH = Path(sys.argv[1]), *sys.argv[2:4]
waited: list[float] = []
cut = definitions(
    CHECKOUT / "roll/pipeline/rlvr/rewards/remote_reward_system_worker.py",
    "RewardSystemHandler",
    concurrent=concurrent,
    datetime=datetime,
    logger=Stub(),
    requests=requests,
    time=SimpleNamespace(time=time.time, sleep=waited.append),
    Optional=Optional,
    Union=Union,
)
remote = module(
    "roll.pipeline.rlvr.rewards.remote_reward_system_worker", **cut, RemoteRewardSystemWorker=Stub
)
vars(sys.modules["roll.pipeline.rlvr.rewards"])["remote_reward_system_worker"] = remote


def rewards(url: str, *samples: tuple[str, Any]) -> list[float]:
    addresses = {
        "submit_url": f"{url}/compat/roll/submit_task?profile=math",
        "get_result_url": f"{url}/compat/roll/task_result",
    }
    handler = remote.RewardSystemHandler(addresses, [], reward_server_task_timeout=5)
    rows = [
        ["project", "experiment", 0, f"row-{i}", str(i), {"ground_truth": truth}, "6 + 40?", said]
        for i, (said, truth) in enumerate(samples)
    ]
    scores = handler.multi_thread_request_reward_system(rows)
    return torch.tensor(scores, dtype=torch.float16).tolist()  # as its `compute_rewards` does


right, wrong, unscorable = ("\\boxed{46}", "46"), ("\\boxed{45}", "46"), ("\\boxed{46}", None)
AWAY = "http://127.0.0.1:1"
found: dict[str, Any] = {
    "batch": rewards(REWARD_URL, right, wrong),
    "unscorable": outcome(lambda: rewards(REWARD_URL, right, unscorable)),
    "no_server": rewards(AWAY, right),
    "tries": len(waited),
}
load(f"{LAUNCH}/roll_worker.py", "roll_worker")
found["with_our_worker"] = rewards(REWARD_URL, right, wrong)
found["no_server_with_our_worker"] = outcome(lambda: rewards(AWAY, right))
found["unscorable_with_our_worker"] = outcome(lambda: rewards(REWARD_URL, right, unscorable))
print(json.dumps(found))
