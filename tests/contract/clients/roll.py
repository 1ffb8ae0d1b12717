"""ROLL's reward worker, made without Ray: its handler submits and polls, its scores are a tensor.

Then the same with docs/launch/roll_worker.py, which ends the run where ROLL would go on with 0.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from stubs import outcome
from tiny_tokenizer import chat_tokenizer

CHECKOUT, REWARD_URL, LAUNCH = sys.argv[1:4]
sys.path[:0] = [CHECKOUT, LAUNCH]
remote: Any = importlib.import_module("roll.pipeline.rlvr.rewards.remote_reward_system_worker")
DataProto: Any = importlib.import_module("roll.distributed.scheduler.protocol").DataProto
waited: list[float] = []
remote.time = SimpleNamespace(time=time.time, sleep=waited.append)
tokenizer = chat_tokenizer()


def batch(url: str, samples: tuple[tuple[str, Any], ...]) -> Any:
    """Return a batch as ROLL's rollout leaves it."""
    ids = [tokenizer(said)["input_ids"] for said, _ in samples]
    width = max(map(len, ids))
    pad = tokenizer.pad_token_id
    names = [f"row-{place}" for place in range(len(samples))]
    data = DataProto.from_dict(
        tensors={
            "prompts": torch.tensor([tokenizer("6 + 40?")["input_ids"]] * len(samples)),
            "responses": torch.tensor([row + [pad] * (width - len(row)) for row in ids]),
        },
        non_tensors={
            "id": numpy.array(names, dtype=object),
            "rollout_id": numpy.array(names, dtype=object),
            "ground_truth": numpy.array([truth for _, truth in samples], dtype=object),
        },
    )
    # ROLL's pipeline never fills this in: the launch file does.
    data.meta_info["reward_system_config"] = {
        "submit_url": f"{url}/compat/roll/submit_task?profile=math",
        "get_result_url": f"{url}/compat/roll/task_result",
    }
    return data


def rewards(kind: Any, url: str, *samples: tuple[str, Any], addressed: bool = True) -> list[float]:
    worker = object.__new__(kind)
    worker.tokenizer, worker.reward_manager_config = tokenizer, []
    data = batch(url, samples)
    if not addressed:
        data.meta_info.clear()
    return worker.compute_rewards(data).batch["scores"].tolist()


right, wrong, unscorable = ("\\boxed{46}", "46"), ("\\boxed{45}", "46"), ("\\boxed{46}", None)
AWAY = "http://127.0.0.1:1"
theirs = remote.RemoteRewardSystemWorker
found: dict[str, Any] = {
    "batch": rewards(theirs, REWARD_URL, right, wrong),
    "unscorable": outcome(lambda: rewards(theirs, REWARD_URL, right, unscorable)),
    "no_server": rewards(theirs, AWAY, right),
    "tries": len(waited),
}
ours = importlib.import_module("roll_worker").RewardWorker
os.environ |= {"REWARD_URL": REWARD_URL, "REWARD_PROFILE": "math"}
found["with_our_worker"] = rewards(ours, REWARD_URL, right, wrong, addressed=False)
found["unscorable_with_our_worker"] = outcome(lambda: rewards(ours, REWARD_URL, right, unscorable))
os.environ["REWARD_PROFILE"] = "mth"
found["misspelt_profile"] = outcome(lambda: rewards(ours, REWARD_URL, right))
os.environ["REWARD_URL"] = AWAY
found["no_server_with_our_worker"] = outcome(lambda: rewards(ours, AWAY, right))
print(json.dumps(found))
