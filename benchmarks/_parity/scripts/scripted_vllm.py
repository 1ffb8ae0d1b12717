"""A replacement for vLLM in OpenRLHF's rollout actor, which returns the samples' responses."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

__version__ = "0.20.0"


class SamplingParams(SimpleNamespace):
    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"logprobs": None, "max_tokens": None, **fields})


class AsyncEngineArgs(SimpleNamespace):
    def __init__(self, *_: Any, **fields: Any) -> None:
        super().__init__(**fields)


class AsyncLLMEngine:
    output_processor = SimpleNamespace(get_num_unfinished_requests=lambda: 0)

    def __init__(self, arguments: Any) -> None:
        from held import TASK, Lookup
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        self.lookup = Lookup([row for part in TASK["parts"] for row in part["samples"]])

    @classmethod
    def from_engine_args(cls, arguments: Any) -> AsyncLLMEngine:
        return cls(arguments)

    async def is_sleeping(self) -> bool:
        return False

    async def generate(self, prompt: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        asked = self.tokenizer.decode(prompt["prompt_token_ids"])
        text = self.lookup.next(asked)
        ids = self.tokenizer(text + self.tokenizer.eos_token)["input_ids"]
        output = SimpleNamespace(token_ids=ids, text=text, finish_reason="stop", logprobs=None)
        yield SimpleNamespace(outputs=[output])


class TokensPrompt(dict[str, Any]):
    """Fields by name."""


def random_uuid() -> str:
    return uuid.uuid4().hex
