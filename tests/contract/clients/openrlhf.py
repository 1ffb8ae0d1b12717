"""OpenRLHF's single-turn executor and experience maker, with a scripted engine."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stubs import definitions, pretend
from tiny_tokenizer import chat_tokenizer

CHECKOUT, URL = Path(sys.argv[1]), sys.argv[2]
pretend("ray", "vllm", "deepspeed", "flash_attn", "bitsandbytes", "peft", "optree", "torchdata")
sys.path.insert(0, str(CHECKOUT))

import torch  # noqa: E402

agent = definitions(
    CHECKOUT / "openrlhf/utils/agent.py",
    "AgentExecutorBase",
    "SingleTurnAgentExecutor",
    **{name: __import__(name) for name in ("asyncio", "aiohttp")},
    ABC=__import__("abc").ABC,
    abstractmethod=__import__("abc").abstractmethod,
    cycle=__import__("itertools").cycle,  # releases take one URL a call, in turn
    deepcopy=__import__("copy").deepcopy,
    logger=__import__("logging").getLogger("openrlhf"),
)
maker = definitions(
    CHECKOUT / "openrlhf/trainer/ppo_utils/samples_generator.py",
    "SamplesGenerator",
    torch=torch,
    Experience=lambda **fields: SimpleNamespace(**fields),
)


class Engine:
    """An engine that generates the response it was given."""

    def __init__(self, tokenizer: Any, response: str) -> None:
        self.ids = tokenizer(response, add_special_tokens=False)["input_ids"]

    async def generate(self, prompt: list[int], *_: Any, **__: Any) -> Any:
        output = SimpleNamespace(token_ids=self.ids, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


def rollout(urls: str | list[str], response: str, label: Any) -> dict[str, Any]:
    tokenizer = chat_tokenizer()
    prompt = "<|im_start|>user\nWhat is 6 + 40?<|im_end|>\n<|im_start|>assistant\n"
    output = asyncio.run(
        agent["SingleTurnAgentExecutor"](urls).execute(
            prompt,
            label,
            SimpleNamespace(max_tokens=64, logprobs=None),
            1024,
            tokenizer,
            Engine(tokenizer, response),
        )
    )
    experience = maker["SamplesGenerator"]._process_response_into_experience(
        SimpleNamespace(), output
    )
    tensors = {"reward": experience.rewards, "score": experience.scores, **experience.info}
    return {
        name: None if value is None else value.flatten().tolist() for name, value in tensors.items()
    }


wrong_profile = URL + "?profile=format"
print(
    json.dumps(
        {
            "right": rollout(URL, "So it is #### 46<|im_end|>", "46"),
            "wrong": rollout(URL, "So it is #### 45<|im_end|>", "46"),
            "two_urls": rollout([URL, URL], "\\boxed{46}<|im_end|>", "46"),
            "no_label": rollout(URL, "\\boxed{46}<|im_end|>", None),
            "other_profile": rollout(
                wrong_profile, "<think>x</think><answer>\\boxed{46}</answer><|im_end|>", None
            ),
            "python_form": rollout(sys.argv[3], "\\boxed{46}<|im_end|>", "46"),
        }
    )
)
