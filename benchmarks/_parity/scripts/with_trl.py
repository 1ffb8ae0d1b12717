"""Run TRL's `GRPOTrainer.train` for two steps; report the results of `_calculate_rewards` and the
advantages.

Only `model.generate` is replaced.
"""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from held import POLICY, URL, Lookup, number, run, told
from scripted_generate import scripted
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from touchstone_rewards.clients import RemoteRewardClient

GROUP, STEPS = 4, 2
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
logging.disable(logging.WARNING)
tokenizer = AutoTokenizer.from_pretrained(POLICY)


class Spied(GRPOTrainer):
    """Records the rewards and advantages by sample id."""

    held: dict[str, float]
    advantages: dict[str, float]
    lookup: Lookup

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, *more: Any) -> Any:
        found = super()._calculate_rewards(inputs, prompts, completions, *more)
        rewards = found[0] if isinstance(found, tuple) else found
        self.kind = str(rewards.dtype).removeprefix("torch.")
        self.ids = [
            self.lookup.id_of(prompt[-1]["content"], completion[-1]["content"])
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        self.held |= dict(zip(self.ids, rewards[:, 0].tolist(), strict=True))
        return found

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        advantages = batch["advantages"].flatten().tolist()
        self.advantages |= {
            name: round(value, 3) for name, value in zip(self.ids, advantages, strict=True)
        }
        return batch


def hold(part: dict[str, Any]) -> dict[str, Any]:
    lookup = Lookup(part["samples"])
    rows = [
        {
            "id": name,
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "ground_truth": row["ground_truth"],
            **row["metadata"],
        }
        for name, row in lookup.rows.items()
    ]
    steps = 1 if part["null"] else STEPS
    # The preflight compares right and wrong answers, so it is off for profiles that ignore them.
    sees_answers = part["profile"] in ("math", "mix")
    reward = RemoteRewardClient(URL).as_trl_reward(
        part["profile"], preflight=sees_answers and not part["null"], max_failed_frac=1.0
    )
    fields: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": len(part["samples"]) // steps,
        "num_generations": GROUP,
        "max_completion_length": 512,
        "max_steps": steps,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "beta": 0.0,
        "disable_tqdm": True,
    }
    model: Any = AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32)
    model.generate = scripted(tokenizer, lookup)
    trainer = Spied(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(**fields),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.lookup, trainer.held, trainer.advantages = lookup, {}, {}
    trainer.train()
    advantages = {name: number(value) for name, value in trainer.advantages.items()}
    then = {"then": f"advantages {list(advantages.values())}"} if part["null"] else {}
    return told(trainer.kind, trainer.held, **then)


run(trl.__version__, hold)
