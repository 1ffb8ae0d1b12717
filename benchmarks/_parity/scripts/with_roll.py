"""Run ROLL's rollout loop and a reward cluster of two Ray actors with the worker of docs/launch,
which submits and polls; report the rollouts' scores.

Only the context's `generate` is replaced. ROLL's own scheduler needs GPUs for its actors, so
`scheduler_of` has the attributes of it that the context uses.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import sys
from types import SimpleNamespace
from typing import Any

from held import CHECKOUT, POLICY, TASK, URL, Lookup, commit, run, told

assert CHECKOUT is not None
sys.path[:0] = [CHECKOUT, TASK["launch"]]
os.environ["PYTHONPATH"] += f":{CHECKOUT}:{TASK['launch']}"

from ray_started import start_ray  # noqa: E402  # pyright: ignore[reportMissingImports]
from transformers import AutoTokenizer  # noqa: E402

GROUP, PROMPT_TOKENS, TOKENS, DOMAIN = 4, 256, 1024, "touchstone"


def roll(module: str) -> Any:
    return importlib.import_module(f"roll.{module}")


DataProto = roll("distributed.scheduler.protocol").DataProto
loop = roll("distributed.scheduler.user_defined_rollout_loop").UserDefinedRolloutLoop()
Tracker = roll("utils.metrics.metrics_manager").DurationTracker
tokenizer = AutoTokenizer.from_pretrained(POLICY, padding_side="left")
template = roll("datasets.chat_template").get_chat_template("native", tokenizer)
collate = roll("datasets.collator").DataCollatorWithPaddingForPaddedKeys(
    tokenizer, max_length=PROMPT_TOKENS, padding="max_length"
)
start_ray()
roll("distributed.scheduler.transfer_backend").init_transfer_backend(None)
chosen = roll("pipeline.rlvr.rlvr_config").RewardConfig(
    name=f"reward-{DOMAIN}",
    worker_cls="roll_worker.RewardWorker",
    model_args=roll("configs").ModelArguments(model_name_or_path=POLICY),
    world_size=2,
    system_envs={"REWARD_URL": URL, "REWARD_PROFILE": "every"},
)
cluster = roll("distributed.executor.cluster").Cluster(
    name=chosen.name,
    worker_cls=chosen.worker_cls,
    resource_manager=roll("distributed.scheduler.resource_manager").ResourceManager(0, 1),
    worker_config=chosen,
)
cluster.initialize(pipeline_config=None)


class Scripted(roll("distributed.scheduler.generate_scheduler").RolloutContext):
    """ROLL's context of a prompt, with a policy that returns the samples' responses."""

    lookup: Lookup

    async def generate(self, req: Any, domain: str) -> Any:
        [asked] = tokenizer.batch_decode(req.batch["input_ids"])
        ids = tokenizer(self.lookup.next(asked) + tokenizer.eos_token)["input_ids"]
        tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        said = {"output_token_ids": [ids], "finish_reasons": ["stop"], **tokens}
        return DataProto(meta_info=said)


async def begin(prompt_id: int) -> int:
    """Return the step at which a prompt begins, as the replay buffer does."""
    return 0


def scheduler_of(rows: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(
        pipeline_config=SimpleNamespace(
            prompt_length=PROMPT_TOKENS,
            is_num_return_sequences_expand=True,
            rewards={DOMAIN: chosen},
        ),
        is_val=False,
        sequence_length=TOKENS,
        get_data_item_kwargs={},
        get_next_dataset_item=iter(rows).__next__,
        collect_fn=collate,
        replay_buffer=SimpleNamespace(begin=begin),
        reward_timer={DOMAIN: Tracker()},
        reward_worker_iters={DOMAIN: itertools.cycle(cluster.workers)},
    )


def row_of(sample: dict[str, Any], profile: str) -> dict[str, Any]:
    """Return a row of ROLL's dataset, with the metadata beside the ground truth."""
    truth = {"ground_truth": sample["ground_truth"], "scored_by": profile}
    return {
        **tokenizer(template([{"role": "user", "content": sample["prompt"]}])),
        "id": sample["id"].partition("/")[0],
        "domain": DOMAIN,
        "reward_ref_info": {**truth, **sample["metadata"]},
    }


async def rollouts(rows: list[dict[str, Any]], lookup: Lookup) -> list[Any]:
    scheduler = scheduler_of(rows)
    about = {"generation_config": {"num_return_sequences": GROUP}}

    async def one(number: int) -> list[Any]:
        context = Scripted(scheduler, number, about)
        context.lookup = lookup
        return await loop.process_new_prompt(context)

    return [each for group in await asyncio.gather(*map(one, range(len(rows)))) for each in group]


def hold(part: dict[str, Any]) -> dict[str, Any]:
    lookup = Lookup(part["samples"])
    rows = [row_of(sample, part["profile"]) for sample in lookup.rows.values()]
    scores: dict[str, float] = {}
    kinds: set[str] = set()
    for rollout in asyncio.run(rollouts(rows, lookup)):
        [asked] = tokenizer.batch_decode(rollout.batch["prompts"])
        [text] = tokenizer.batch_decode(rollout.batch["responses"], skip_special_tokens=True)
        scores[lookup.id_of(asked, text)] = rollout.batch["scores"].item()
        kinds.add(str(rollout.batch["scores"].dtype).removeprefix("torch."))
    [kind] = kinds
    return told(kind, scores)


run(commit(), hold)
