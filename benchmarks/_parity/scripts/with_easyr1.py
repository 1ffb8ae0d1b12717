"""Run EasyR1's dataset and batch reward manager with our adapter, and report the reward tensor.

EasyR1 passes a reward function the response and the answer column alone. Here the answer is an
object with the ground truth, the question and the metadata.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from held import CHECKOUT, END, POLICY, URL, Lookup, commit, run, told

assert CHECKOUT is not None
sys.path.insert(0, CHECKOUT)
import torch  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

import touchstone_rewards.clients.adapters.easyr1 as adapter  # noqa: E402

DataProto: Any = importlib.import_module("verl.protocol").DataProto
RewardConfig: Any = importlib.import_module("verl.workers.reward.config").RewardConfig
Manager: Any = importlib.import_module("verl.workers.reward.function").AutoRewardManager
datasets: Any = importlib.import_module("verl.utils.dataset")
GROUP = 4
tokenizer = AutoTokenizer.from_pretrained(POLICY)


def prompts(samples: list[dict[str, Any]]) -> Any:
    """Return the batch as EasyR1's trainer makes it: each prompt repeated for its responses."""
    rows = [
        {
            "problem": row["prompt"],
            "answer": {
                "ground_truth": row["ground_truth"],
                "question": row["prompt"],
                **row["metadata"],
            },
        }
        for row in Lookup(samples).rows.values()
    ]
    path = Path(tempfile.mkdtemp(), "rows.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = datasets.RLHFDataset(
        str(path), tokenizer, None, prompt_key="problem", filter_overlong_prompts=False
    )
    columns = datasets.collate_fn([dataset[place] for place in range(len(dataset))])
    return DataProto.from_single_dict(columns).repeat(GROUP, interleave=True)


def responses(samples: list[dict[str, Any]]) -> Any:
    ids = [tokenizer(row["response"] + END)["input_ids"] for row in samples]
    width = max(map(len, ids))
    pad = tokenizer.pad_token_id
    return DataProto.from_dict(
        tensors={
            "responses": torch.tensor([row + [pad] * (width - len(row)) for row in ids]),
            "response_mask": torch.tensor(
                [[1] * len(row) + [0] * (width - len(row)) for row in ids]
            ),
        }
    )


def hold(part: dict[str, Any]) -> dict[str, Any]:
    samples = part["samples"]
    config = RewardConfig(
        reward_function=f"{Path(adapter.__file__)}:compute_score",
        reward_function_kwargs={"profile": part["profile"], "url": URL},
    )
    config.post_init()
    batch = prompts(samples).union(responses(samples))
    rewards, _ = Manager(config, tokenizer).compute_reward(batch)
    names = [row["id"] for row in samples]
    kind = str(rewards.dtype).removeprefix("torch.")
    return told(kind, dict(zip(names, rewards.sum(-1).tolist(), strict=True)))


run(commit(), hold)
