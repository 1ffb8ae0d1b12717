"""LLaMA-Factory's PPO trainer: `get_rewards` with `reward_model_type: api`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests
import torch
from stubs import definitions, outcome
from tiny_tokenizer import chat_tokenizer

CHECKOUT, URL = Path(sys.argv[1]), sys.argv[2]
client = definitions(
    CHECKOUT / "src/llamafactory/train/ppo/ppo_utils.py",
    "get_rewards_from_server",
    requests=requests,
    json=json,
    torch=torch,
)
trainer = definitions(
    CHECKOUT / "src/llamafactory/train/ppo/trainer.py",
    "CustomPPOTrainer",
    PPOTrainer=type("PPOTrainer", (), {}),
    Trainer=type("Trainer", (), {}),
    override=lambda function: function,
    torch=torch,
    get_rewards_from_server=client["get_rewards_from_server"],
)


def rewards(url: str, *responses: str, question: str = "Hi") -> Any:
    tokenizer = chat_tokenizer()

    def ids(text: str) -> torch.Tensor:
        return torch.tensor(tokenizer(text)["input_ids"])

    self = SimpleNamespace(
        finetuning_args=SimpleNamespace(reward_model_type="api"),
        tokenizer=tokenizer,
        reward_model=url,
    )
    system = "<|im_start|>system\nPut your answer within \\boxed{}.<|im_end|>\n"
    query = ids(f"{system}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
    found = trainer["CustomPPOTrainer"].get_rewards(
        self, [query] * len(responses), [ids(response) for response in responses]
    )
    return found.tolist()


good = "<think>x</think><answer>\\boxed{46}</answer><|im_end|>"
print(
    json.dumps(
        {
            "batch": rewards(URL + "?profile=format", good, "no tags"),
            "truths_by_question": rewards(
                URL,
                "\\boxed{46}<|im_end|>",
                "\\boxed{45}<|im_end|>",
                question="What is 6 + 40?",
            ),
            "no_reward": outcome(lambda: rewards(URL, good)),
        }
    )
)
