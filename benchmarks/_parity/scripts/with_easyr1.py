"""EasyR1: its batch reward manager, the adapter named as its config names it; the reward tensor.

It hands a reward function the response and the ground truth alone.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy
from held import CHECKOUT, END, POLICY, URL, commit, run, told

assert CHECKOUT is not None
sys.path.insert(0, CHECKOUT)
import torch  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import touchstone_rewards.clients.adapters.easyr1 as adapter  # noqa: E402

DataProto: Any = importlib.import_module("verl.protocol").DataProto
RewardConfig: Any = importlib.import_module("verl.workers.reward.config").RewardConfig
Manager: Any = importlib.import_module("verl.workers.reward.function").AutoRewardManager
tokenizer = AutoTokenizer.from_pretrained(POLICY)


def hold(part: dict[str, Any]) -> dict[str, Any]:
    samples = part["samples"]
    config = RewardConfig(
        reward_function=f"{Path(adapter.__file__)}:compute_score",
        reward_function_kwargs={"profile": part["profile"], "url": URL},
    )
    config.post_init()
    manager = Manager(config, tokenizer)
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
    rewards, _ = manager.compute_reward(data)
    names = [row["id"] for row in samples]
    kind = str(rewards.dtype).removeprefix("torch.")
    return told(kind, dict(zip(names, rewards.sum(-1).tolist(), strict=True)))


run(commit(), hold)
