"""verl's reward loop: its discriminative reward model over HTTP, and a custom reward function.

The batch is assembled by verl's own code, which takes the keys of the first sample.
"""

from __future__ import annotations

import abc
import asyncio
import importlib
import inspect
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp  # pyright: ignore[reportMissingImports]
import numpy
import torch
from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
from stubs import definitions, module, outcome, pretend
from tiny_tokenizer import chat_tokenizer

CHECKOUT, ADDRESS, REWARD_URL = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
pretend("ray", "vllm", "sglang", "codetiming", "pyarrow", "hydra")
sys.path.insert(0, str(CHECKOUT))
LOOP = CHECKOUT / "verl/experimental/reward_loop"
DataProto = importlib.import_module("verl.protocol").DataProto
reward = importlib.import_module("verl.trainer.ppo.reward")
worker = definitions(
    LOOP / "reward_loop.py",
    "RewardLoopWorker",
    aiohttp=aiohttp,
    asyncio=asyncio,
    logger=logging.getLogger("verl"),
)["RewardLoopWorker"]
base = definitions(
    LOOP / "reward_manager/base.py",
    "RewardManagerBase",
    ABC=abc.ABC,
    abstractmethod=abc.abstractmethod,
    get_event_loop=asyncio.get_running_loop,
)
Naive = definitions(
    LOOP / "reward_manager/naive.py",
    "NaiveRewardManager",
    register=lambda name: lambda manager: manager,
    RewardManagerBase=base["RewardManagerBase"],
    inspect=inspect,
    default_compute_score=None,
)["NaiveRewardManager"]
limited = definitions(
    LOOP / "reward_manager/limited.py",
    "RateLimitedRewardManager",
    "AsyncTokenBucket",
    register_manager=lambda name: lambda manager: manager,
    register_manager_legacy=lambda name: lambda manager: manager,
    RewardManagerBase=base["RewardManagerBase"],
    asyncio=asyncio,
    inspect=inspect,
    logger=logging.getLogger("verl"),
    default_compute_score=None,
)
tokenizer = chat_tokenizer()


def rows(responses: list[str], truths: list[Any]) -> Any:
    ids = [tokenizer(text + "<|im_end|>")["input_ids"] for text in responses]
    width = max(map(len, ids))
    chat = [{"role": "user", "content": "What is 6 + 40?"}]
    others: dict[str, Any] = {
        "raw_prompt": [chat] * len(ids),
        "data_source": ["gsm8k"] * len(ids),
        "reward_model": [{"ground_truth": truth} for truth in truths],
        "extra_info": [{"index": i} for i in range(len(ids))],
    }
    return DataProto.from_dict(
        tensors={
            "responses": torch.tensor([row + [0] * (width - len(row)) for row in ids]),
            "attention_mask": torch.tensor(
                [[1] * len(row) + [0] * (width - len(row)) for row in ids]
            ),
        },
        non_tensors={
            name: numpy.fromiter(values, dtype=object, count=len(ids))
            for name, values in others.items()
        },
    )


def discriminative(engine: str, profile: str, response: str) -> float:
    model = SimpleNamespace(rollout=SimpleNamespace(name=engine), model_path="/models/rm")
    self = object.__new__(worker)
    self.config = SimpleNamespace(reward=SimpleNamespace(reward_model=model))
    self.reward_router_address = f"{ADDRESS}/{engine}"
    self.input_tokenizer = self.reward_model_tokenizer = tokenizer
    return asyncio.run(self.compute_score_disrm(rows([response], [profile])))["reward_score"]


def custom(
    responses: list[str],
    truths: list[Any],
    name: str = "compute_score",
    manager: Any = Naive,
    **options: Any,
) -> dict[str, Any]:
    chosen = {
        "path": "pkg://touchstone_rewards.clients.adapters.verl",
        "name": name,
        "reward_kwargs": {"url": REWARD_URL, **options},
    }
    function = reward.get_custom_reward_fn(
        SimpleNamespace(reward={"custom_reward_function": chosen})
    )
    data = rows(responses, truths)

    async def score() -> list[dict[str, Any]]:
        made = manager(OmegaConf.create({"reward": {}}), tokenizer, function)
        return await asyncio.gather(*(made.run_single(data[i : i + 1]) for i in range(len(data))))

    found = asyncio.run(score())
    names = list(found[0]["reward_extra_info"])
    return {
        "rewards": [each["reward_score"] for each in found],
        **{
            name: numpy.array([each["reward_extra_info"][name] for each in found]).tolist()
            for name in names
        },
    }


def rate_limited(truths: list[Any], name: str) -> list[Any]:
    """Return the scores under verl's manager that turns every exception into a 0."""
    kind = limited["RateLimitedRewardManager"]
    module("verl.experimental.reward_loop.reward_manager.limited", RateLimitedRewardManager=kind)
    kind._class_initialized = False  # its semaphore belongs to the event loop that created it
    try:
        return custom([good] * len(truths), truths, name, kind)["rewards"]
    finally:
        kind._class_initialized = False


def to_tensor(scores: list[Any]) -> list[float]:
    """Make a tensor as verl's `assemble_rm_scores` does."""
    return torch.zeros(1, dtype=torch.float32).new_tensor(scores).tolist()


good = "<think>x</think><answer>\\boxed{46}</answer>"
print(
    json.dumps(
        {
            "vllm": discriminative("vllm", "format", good),
            "sglang": discriminative("sglang", "format", "no tags"),
            "custom": custom([good, "\\boxed{45}"], ["46", "46"]),
            "awaited": custom([good, "\\boxed{45}"], ["46", "46"], "compute_score_async"),
            "odd_truths": custom(
                [good] * 3,
                [numpy.str_("46"), {"target": numpy.array(["46"])}, True],
                null_reward=-1.0,
            )["rewards"],
            "unscorable": outcome(lambda: custom([good], [None]))[:9],
            "constant": custom([good, good], ["46", None], null_reward=-1.0)["rewards"],
            "rate_limited": rate_limited(["46"], "compute_score")
            + rate_limited(["46"], "compute_score_async"),
            "rate_limited_unscorable": [
                outcome(lambda: to_tensor(rate_limited([None], "compute_score"))),
                outcome(lambda: to_tensor(rate_limited([None], "compute_score_async"))),
            ],
        }
    )
)
