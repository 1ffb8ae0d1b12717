"""Run LLaMA-Factory's PPO for two steps by `run_exp`, and report the results of `get_rewards`.

Only `generate` is replaced. LLaMA-Factory requires trl 0.9.6, whose `trl.models.utils` lacks two
names that its KTO module imports; they are added here and never called.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["DISABLE_VERSION_CHECK"] = "1"

import torch
import trl.models.utils as trl_utils  # pyright: ignore[reportMissingImports]

for name in ("prepare_deepspeed", "prepare_fsdp"):
    if not hasattr(trl_utils, name):
        setattr(trl_utils, name, lambda model, *_, **__: model)

from held import END, POLICY, URL, Lookup, run, told  # noqa: E402
from scripted_generate import scripted  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from transformers.generation.utils import GenerationMixin  # noqa: E402

torch.set_num_threads(1)
tuner: Any = importlib.import_module("llamafactory.train.tuner")
Trainer: Any = importlib.import_module("llamafactory.train.ppo.trainer").CustomPPOTrainer
tokenizer = AutoTokenizer.from_pretrained(POLICY)
STEPS = 2
get_rewards = Trainer.get_rewards


def hold(part: dict[str, Any]) -> dict[str, Any]:
    samples = part["samples"]
    lookup, held, kinds = Lookup(samples), {}, set()

    def spied(self: Any, queries: Any, responses: Any) -> Any:
        rewards = get_rewards(self, queries, responses)
        kinds.add(str(rewards.dtype).removeprefix("torch."))
        for query, response, reward in zip(queries, responses, rewards, strict=True):
            text = tokenizer.decode(response).removesuffix(END)
            held[lookup.id_of(tokenizer.decode(query), text)] = reward.item()
        return rewards

    Trainer.get_rewards = spied
    GenerationMixin.generate = scripted(tokenizer, lookup)  # type: ignore[method-assign]
    folder = Path(tempfile.mkdtemp())
    rows = [{"instruction": row["prompt"], "input": "", "output": "-"} for row in samples]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}')
    steps = 1 if part["null"] else STEPS
    route = f"{URL}/compat/llamafactory/v1/score/evaluation?profile={part['profile']}"
    tuner.run_exp(
        {
            "stage": "ppo",
            "do_train": True,
            "finetuning_type": "lora",
            "model_name_or_path": POLICY,
            "dataset": "rows",
            "dataset_dir": str(folder),
            "template": "chatml",
            "reward_model_type": "api",
            "reward_model": route,
            "output_dir": str(folder / "run"),
            "max_steps": steps,
            "per_device_train_batch_size": len(samples) // steps,
            "gradient_accumulation_steps": 1,
            "cutoff_len": 512,
            "max_new_tokens": 512,
            "logging_steps": 1,
            "report_to": "none",
            "save_strategy": "no",
            "ppo_buffer_size": 1,
            "ppo_epochs": 1,
            "use_cpu": True,
            "bf16": False,
            "preprocessing_num_workers": 1,
            "overwrite_cache": True,
        }
    )
    return told(kinds.pop(), held)


run(version("llamafactory"), hold)
