"""ROLL: `RemoteRewardSystemWorker.compute_rewards`, which submits and polls over HTTP; its scores.

The worker is made without Ray. Its waits between two questions are not waited for.
"""

from __future__ import annotations

import importlib
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from held import CHECKOUT, POLICY, URL, commit, run, told
from transformers import AutoTokenizer

assert CHECKOUT is not None
sys.path.insert(0, CHECKOUT)
module: Any = importlib.import_module("roll.pipeline.rlvr.rewards.remote_reward_system_worker")
DataProto: Any = importlib.import_module("roll.distributed.scheduler.protocol").DataProto
module.time = SimpleNamespace(time=time.time, sleep=lambda _: None)
tokenizer = AutoTokenizer.from_pretrained(POLICY)


def padded(texts: list[str]) -> torch.Tensor:
    rows = [tokenizer(text)["input_ids"] for text in texts]
    width = max(map(len, rows))
    return torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])


def hold(part: dict[str, Any]) -> dict[str, Any]:
    samples = part["samples"]
    worker = object.__new__(module.RemoteRewardSystemWorker)
    worker.tokenizer, worker.reward_manager_config = tokenizer, []
    truths = [{"ground_truth": row["ground_truth"], **row["metadata"]} for row in samples]
    data = DataProto.from_dict(
        tensors={
            "prompts": padded([row["prompt"] for row in samples]),
            "responses": padded([row["response"] + tokenizer.eos_token for row in samples]),
        },
        non_tensors={
            "id": numpy.array([row["id"].partition("/")[0] for row in samples], dtype=object),
            "rollout_id": numpy.array([row["id"] for row in samples], dtype=object),
            "reward_ref_info": numpy.array(truths, dtype=object),
        },
    )
    data.meta_info = {
        "reward_system_config": {
            "submit_url": f"{URL}/compat/roll/submit_task?profile={part['profile']}",
            "get_result_url": f"{URL}/compat/roll/task_result",
        }
    }
    scores = worker.compute_rewards(data).batch["scores"]
    kind = str(scores.dtype).removeprefix("torch.")
    names = [row["id"] for row in samples]
    return told(kind, dict(zip(names, scores.tolist(), strict=True)))


run(commit(), hold)
