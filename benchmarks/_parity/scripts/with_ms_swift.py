"""Run ms-swift's GRPO with a plugin for two steps, and report `rewards_per_func`.

Only `generate` is replaced.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from held import POLICY, URL, Lookup, run, told
from scripted_generate import scripted
from transformers import AutoTokenizer
from transformers.generation.utils import GenerationMixin

torch.set_num_threads(1)
pipeline: Any = importlib.import_module("swift.pipelines")
Trainer: Any = importlib.import_module("swift.rlhf_trainers.grpo_trainer").GRPOTrainer
tokenizer = AutoTokenizer.from_pretrained(POLICY)
GROUP, STEPS = 4, 2
compute = Trainer._compute_rewards_per_func
PLUGIN = """
from swift.rewards import orms
from touchstone_rewards.clients.adapters.ms_swift import AsyncRemoteReward

class {name}(AsyncRemoteReward):
    profile = {profile!r}
    url = {url!r}

orms[{name!r}] = {name}
"""


def hold(part: dict[str, Any]) -> dict[str, Any]:
    samples = part["samples"]
    lookup, held, kinds = Lookup(samples), {}, set()

    def spied(self: Any, batch: Any) -> Any:
        rewards = compute(self, batch)
        kinds.add(str(rewards.dtype).removeprefix("torch."))
        for sample, reward in zip(batch, rewards[:, 0].tolist(), strict=True):
            texts = {turn["role"]: turn["content"] for turn in sample.messages}
            held[lookup.id_of(texts["user"], texts["assistant"])] = reward
        return rewards

    Trainer._compute_rewards_per_func = spied
    GenerationMixin.generate = scripted(tokenizer, lookup)  # type: ignore[method-assign]
    folder = Path(tempfile.mkdtemp())
    rows = [
        {
            "messages": [{"role": "user", "content": row["prompt"]}],
            "solution": row["ground_truth"],
            **row["metadata"],
        }
        for row in lookup.rows.values()
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    name = f"touchstone_{part['name']}"
    plugin = folder / f"plugin_{part['name']}.py"
    plugin.write_text(PLUGIN.format(name=name, profile=part["profile"], url=URL))
    steps = 1 if part["null"] else STEPS
    words = {
        "rlhf_type": "grpo",
        "model": POLICY,
        "model_type": "qwen2",
        "template": "chatml",
        "torch_dtype": "float32",
        "tuner_type": "full",
        "dataset": str(data),
        "external_plugins": str(plugin),
        "reward_funcs": name,
        "per_device_train_batch_size": len(samples) // steps,
        "num_generations": GROUP,
        "max_completion_length": 512,
        "max_steps": steps,
        "logging_steps": 1,
        "use_vllm": "false",
        "gradient_checkpointing": "false",
        "save_strategy": "no",
        "output_dir": str(folder / "run"),
        "report_to": "none",
        "use_hf": "true",
        "attn_impl": "eager",
        "split_dataset_ratio": 0,
        "dataset_num_proc": 1,
    }
    pipeline.rlhf_main([word for key, value in words.items() for word in (f"--{key}", str(value))])
    return told(kinds.pop(), held)


run(version("ms-swift"), hold)
