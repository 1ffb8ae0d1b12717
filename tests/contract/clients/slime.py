"""slime's and miles' reward hub: `--rm-type remote_rm`, with and without `--reward-key`."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from types import SimpleNamespace
from typing import Any

from stubs import outcome, pretend

CHECKOUT, URL, PACKAGE = sys.argv[1:4]
pretend(
    "ray", "sglang", "sglang_router", "pylatexenc", "httpx", "wandb", "megatron", "transformers"
)
sys.path.insert(0, CHECKOUT)
hub: Any = importlib.import_module(f"{PACKAGE}.rollout.rm_hub")
Sample = importlib.import_module(f"{PACKAGE}.utils.types").Sample

slept: list[float] = []


async def sleep(seconds: float) -> None:
    """Note slime's retry delays, two and a half minutes in all, instead of waiting."""
    slept.append(seconds)


hub.asyncio = SimpleNamespace(sleep=sleep, gather=asyncio.gather)


def reward(route: str, key: str | None, response: str, label: Any = "46") -> Any:
    arguments = SimpleNamespace(
        rm_type="remote_rm", rm_url=f"{URL}/{route}", custom_rm_path=None, reward_key=key
    )
    sample = Sample(
        prompt=[{"role": "user", "content": "What is 6 + 40?"}], response=response, label=label
    )

    async def score() -> Any:
        try:
            return (await hub.batched_async_rm(arguments, [sample]))[0]
        finally:
            if getattr(hub, "_shared_session", None):
                await hub._shared_session.close()

    sample.reward = asyncio.run(score())
    return sample.get_reward_value(arguments)


no_label = outcome(lambda: reward("rm", None, "\\boxed{46}", None))
print(
    json.dumps(
        {
            "right": reward("rm", None, "\\boxed{46}"),
            "wrong": reward("rm", None, "\\boxed{45}"),
            "by_key": reward("rm_dict", "score", "\\boxed{46}"),
            "component": reward("rm_dict", "math", "\\boxed{45}"),
            "no_label": f"{no_label} after {len(slept)} retries",
        }
    )
)
