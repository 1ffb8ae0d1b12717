"""Run slime's `generate_and_rm_group`, and report each sample's reward.

A custom generate function returns the samples' responses. `async_rm` uses `--rm-type remote_rm`;
its waits between retries are recorded and skipped.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiohttp import ClientResponseError  # pyright: ignore[reportMissingImports]
from held import CHECKOUT, POLICY, URL, Lookup, commit, run, told

assert CHECKOUT is not None
sys.path.insert(0, CHECKOUT)
rollout: Any = importlib.import_module("slime.rollout.sglang_rollout")
hub: Any = importlib.import_module("slime.rollout.rm_hub")
Sample: Any = importlib.import_module("slime.utils.types").Sample
GROUP = 4
waits: list[float] = []


async def sleep(seconds: float) -> None:
    waits.append(seconds)


hub.asyncio = SimpleNamespace(sleep=sleep, gather=asyncio.gather)


class Arguments(SimpleNamespace):
    """slime's arguments. Those that are not set are None."""

    def __getattr__(self, _: str) -> None:
        return None


def arguments(profile: str) -> Arguments:
    return Arguments(
        hf_checkpoint=POLICY,
        rm_type="remote_rm",
        rm_url=f"{URL}/compat/slime/rm?profile={profile}",
        custom_generate_function_path="scripted_policy.generate",
        sglang_server_concurrency=8,
        rollout_num_gpus=1,
        rollout_num_gpus_per_engine=1,
        rollout_temperature=1.0,
        rollout_top_p=1.0,
        rollout_top_k=-1,
        rollout_max_response_len=512,
        sglang_dp_size=1,
        n_samples_per_prompt=GROUP,
    )


def label(row: Mapping[str, Any]) -> Any:
    """Return a label: the ground truth, with the metadata if there are any."""
    truth = row["ground_truth"]
    return json.dumps({"ground_truth": truth, **row["metadata"]}) if row["metadata"] else truth


NOW: dict[str, Lookup] = {}


async def generate(_: Any, sample: Any, __: Any) -> Any:
    """Set the next response to the sample's prompt. slime calls this hook."""
    sample.response = NOW["part"].next(sample.prompt[-1]["content"])
    sample.tokens = [1, 2]
    sample.response_length = 1
    sample.status = Sample.Status.COMPLETED
    return sample


sys.modules["scripted_policy"] = SimpleNamespace(generate=generate)  # type: ignore[assignment]


def hold(part: dict[str, Any]) -> dict[str, Any]:
    lookup = NOW["part"] = Lookup(part["samples"])
    chosen = arguments(part["profile"])
    rollout.get_rollout_num_engines = lambda _: 1
    waits.clear()

    async def groups() -> list[Any]:
        made = [
            [
                Sample(prompt=[{"role": "user", "content": row["prompt"]}], label=label(row))
                for _ in range(GROUP)
            ]
            for row in lookup.rows.values()
        ]
        try:
            tasks = [rollout.generate_and_rm_group(chosen, group, {}) for group in made]
            return [sample for group in await asyncio.gather(*tasks) for sample in group]
        finally:
            await hub._get_shared_session().close()

    try:
        done = asyncio.run(groups())
    except ClientResponseError as error:
        return {"raised": f"ClientResponseError: {error.status} after {len(waits)} waits"}
    return told(
        "float64",
        {
            lookup.id_of(each.prompt[-1]["content"], each.response): each.get_reward_value(chosen)
            for each in done
        },
    )


run(commit(), hold)
