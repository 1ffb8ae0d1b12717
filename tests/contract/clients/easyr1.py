"""EasyR1's reward manager with the adapter's file, as its config names it."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy
import torch
from stubs import outcome, pretend
from tiny_tokenizer import chat_tokenizer

CHECKOUT, REWARD_URL, ADAPTER = sys.argv[1:4]
pretend("ray", "vllm", "codetiming")
sys.path.insert(0, CHECKOUT)
DataProto = importlib.import_module("verl.protocol").DataProto
config = importlib.import_module("verl.workers.reward.config")
function = importlib.import_module("verl.workers.reward.function")
tokenizer = chat_tokenizer()


def rewards(responses: list[str], truths: list[Any], **options: Any) -> dict[str, Any]:
    chosen = config.RewardConfig(
        reward_function=f"{ADAPTER}:compute_score",
        reward_function_kwargs={"url": REWARD_URL, **options},
    )
    chosen.post_init()
    manager = function.AutoRewardManager(chosen, tokenizer)
    ids = [tokenizer(text + "<|im_end|>")["input_ids"] for text in responses]
    width = max(map(len, ids))
    data = DataProto.from_dict(
        tensors={
            "responses": torch.tensor([row + [0] * (width - len(row)) for row in ids]),
            "response_mask": torch.tensor(
                [[1] * len(row) + [0] * (width - len(row)) for row in ids]
            ),
        },
        non_tensors={"ground_truth": numpy.array(truths, dtype=object)},
    )
    tensor, metrics = manager.compute_reward(data)
    return {"rewards": tensor.sum(-1).tolist(), **metrics}


found = {
    "batch": rewards(["\\boxed{46}", "It is 45."], ["46", "46"]),
    "unscorable": outcome(lambda: rewards(["\\boxed{46}"], [None]))[:9],
    "constant": rewards(["\\boxed{46}"], [None], null_reward=-1.0)["rewards"],
}
print(json.dumps(found))
