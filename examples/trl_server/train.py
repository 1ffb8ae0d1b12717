"""GRPO with TRL and rewards from a reward server; each sample is kept with its reward."""

import argparse
import json

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from touchstone_rewards.clients import RemoteRewardClient

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="model")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--url", default="http://127.0.0.1:8700")
parser.add_argument("--profile", default="math")
arguments = parser.parse_args()

ROWS = [
    {
        "id": f"{a}+{b}",
        "prompt": [
            {"role": "user", "content": f"What is {a} + {b}? End with #### and the number."}
        ],
        "ground_truth": str(a + b),
    }
    for a in range(2, 10)
    for b in range(2, 10)
]
kept = []


def keep(samples, results):
    for sample, result in zip(samples, results, strict=True):
        kept.append(
            {
                "id": sample.id,
                "prompt": [{"role": m.role, "content": m.content} for m in sample.prompt],
                "response": sample.response,
                "ground_truth": sample.ground_truth,
                "metadata": {"reward": result.reward if result else None},
            }
        )


client = RemoteRewardClient(arguments.url)
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(arguments.model),
    processing_class=AutoTokenizer.from_pretrained(arguments.model),
    train_dataset=Dataset.from_list(ROWS),
    reward_funcs=[client.as_trl_reward(arguments.profile, on_results=keep)],
    args=GRPOConfig(
        output_dir="run",
        max_steps=arguments.steps,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=24,
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        report_to="none",
    ),
)
trainer.train()
with open("samples.jsonl", "w") as file:
    file.writelines(json.dumps(each) + "\n" for each in kept)
missing = sum(each["metadata"]["reward"] is None for each in kept)
print(f"{len(kept)} samples kept in samples.jsonl, {missing} without a reward")
