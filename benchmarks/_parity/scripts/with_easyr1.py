"""EasyR1: its batch reward manager as the Ray actor of its trainer; the reward tensor.

It hands a reward function the response and the ground truth alone.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy
from held import CHECKOUT, END, POLICY, URL, commit, run, told

assert CHECKOUT is not None
sys.path.insert(0, CHECKOUT)
os.environ["PYTHONPATH"] = f"{CHECKOUT}:{os.environ['PYTHONPATH']}"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

import ray  # noqa: E402  # pyright: ignore[reportMissingImports]
import torch  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import touchstone_rewards.clients.adapters.easyr1 as adapter  # noqa: E402

DataProto: Any = importlib.import_module("verl.protocol").DataProto
RewardConfig: Any = importlib.import_module("verl.workers.reward.config").RewardConfig
Manager: Any = importlib.import_module("verl.workers.reward.function").AutoRewardManager
tokenizer = AutoTokenizer.from_pretrained(POLICY)
ray.init(
    num_cpus=2,
    num_gpus=0,
    include_dashboard=False,
    object_store_memory=200 << 20,
    log_to_driver=False,
    runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"], "OMP_NUM_THREADS": "1"}},
)


def hold(part: dict[str, Any]) -> dict[str, Any]:
    samples = part["samples"]
    config = RewardConfig(
        reward_function=f"{Path(adapter.__file__)}:compute_score",
        reward_function_kwargs={"profile": part["profile"], "url": URL},
    )
    config.post_init()
    manager = ray.remote(Manager).options(num_cpus=config.num_cpus).remote(config, tokenizer)
    ids = [tokenizer(row["response"] + END)["input_ids"] for row in samples]
    width = max(map(len, ids))
    pad = tokenizer.pad_token_id
    truths = [row["ground_truth"] for row in samples]
    data = DataProto.from_dict(
        tensors={
            "responses": torch.tensor([row + [pad] * (width - len(row)) for row in ids]),
            "response_mask": torch.tensor(
                [[1] * len(row) + [0] * (width - len(row)) for row in ids]
            ),
        },
        non_tensors={"ground_truth": numpy.array(truths, dtype=object)},
    )
    try:
        rewards, _ = ray.get(manager.compute_reward.remote(data))
    finally:
        ray.kill(manager)
    names = [row["id"] for row in samples]
    kind = str(rewards.dtype).removeprefix("torch.")
    return told(kind, dict(zip(names, rewards.sum(-1).tolist(), strict=True)))


run(commit(), hold)
