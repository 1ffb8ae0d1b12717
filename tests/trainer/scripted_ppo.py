"""A PPO trainer with scripted responses, so that its results can be compared.

`python -m tests.trainer.scripted_ppo FOLDER MODEL RUNS`, RUNS a JSON object of names and fields,
trains each and writes what `Recorder` kept to FOLDER/NAME.pt: two processes of it share the batch
that one has.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback

from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.trainer import PPOTrainer

PROMPTS = [f"{a} plus {b} is" for a, b in ((1, 2), (3, 4), (5, 6), (7, 8))]
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}


def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """Return responses of 3 to 7 tokens that depend only on the prompt and the place in its
    group."""
    tokenizer = trainer._tokenizer
    responses = []
    for place, prompt in enumerate(prompts):
        digest = hashlib.sha256(f"{prompt} {place % trainer.num_generations}".encode()).digest()
        tokens = [2 + byte for byte in digest[1 : 4 + digest[0] % 5]]
        responses.append([*tokens[:-1], tokenizer.eos_token_id])
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    return {"prompt_ids": ids, "completion_ids": responses, "logprobs": None}


def reward(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """Return a number for each response; None for every fifth kind."""
    return [None if sum(ids) % 5 == 0 else (sum(ids) % 7) / 7 for ids in completion_ids]


class Recorder(TrainerCallback):
    """Keep the gradients before and the weights after every update."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.gradients.append(
            {name: p.grad.detach().clone() for name, p in named if p.grad is not None}
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.weights.append({name: p.detach().clone() for name, p in named})


def build(
    output: Path, model: Path, reward_func: Any = reward, scripted: bool = True, **fields: Any
) -> tuple[PPOTrainer, Recorder]:
    """Make a trainer on four prompts of four responses each, all in one update."""
    chosen = {
        "output_dir": str(output),
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "critic_learning_rate": 5e-2,
        "lr_scheduler_type": "constant",
        "vf_coef": 0.5,
        "kl_coef": 0.05,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    lora = fields.pop("lora", False)
    rows = Dataset.from_dict({"prompt": PROMPTS, "id": [f"p{n}" for n in range(len(PROMPTS))]})
    recorder = Recorder()
    trainer = PPOTrainer(
        model=str(model),
        reward_funcs=reward_func,
        args=PPOConfig(**{**chosen, **fields}),
        train_dataset=rows,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA) if lora else None,
        rollout_func=rollout if scripted else None,
        callbacks=[recorder],
    )
    return trainer, recorder


def main() -> None:
    folder, model, runs = sys.argv[1:]
    torch.set_num_threads(1)
    for name, fields in json.loads(runs).items():
        trainer, recorder = build(Path(folder) / name, Path(model), **fields)
        trainer.train()
        if trainer.is_world_process_zero():
            torch.save(vars(recorder), Path(folder) / f"{name}.pt")


if __name__ == "__main__":
    main()
