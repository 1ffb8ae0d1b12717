"""Pairs that only word order tells apart: two trees from A to Z, against two others from Z to A.

Every tree stands as often in chosen as in rejected sides, so a bag of words can do no better than
chance. No pair of trees of the held-out rows occurs in training, in either order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.toy.tiny_model import make_model

PROMPT = "Two trees from A to Z:"
TREES = [
    "acorn",
    "ash",
    "birch",
    "cedar",
    "dogwood",
    "elm",
    "fir",
    "ginkgo",
    "hazel",
    "ivy",
    "juniper",
    "larch",
    "maple",
    "nutmeg",
    "oak",
    "pine",
    "rowan",
    "spruce",
    "thorn",
    "willow",
]
FLAGS = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 50,
    "logging_steps": 10,
    "save_strategy": "no",
}


@dataclass(frozen=True)
class Sorting:
    """Make an untrained model of 0.1 M weights, and files of pairs: 2,000 to train, 300 to test."""

    base: Path
    train: Path
    test: Path
    pairs: list[dict[str, str]]
    held_out: list[dict[str, str]]

    def flags(self, output: Path, **fields: Any) -> list[str]:
        """Return `--name=value` flags for one run; `None` omits a flag."""
        chosen = {
            "model_name_or_path": self.base,
            "dataset_name": self.train,
            "output_dir": output,
            **FLAGS,
            **fields,
        }
        return [f"--{name}={value}" for name, value in chosen.items() if value is not None]


def make_sorting(folder: Path) -> Sorting:
    rng = random.Random(0)
    trees = list(combinations(TREES, 2))
    rng.shuffle(trees)
    cut = len(trees) // 6
    held_out, pairs = draw(trees[:cut], 300, rng), draw(trees[cut:], 2000, rng)
    texts = [row["prompt"] + row["chosen"] for row in pairs]
    return Sorting(
        base=make_model(folder / "base", texts, hidden_size=64, layers=2),
        train=write_rows(folder / "train.jsonl", pairs),
        test=write_rows(folder / "test.jsonl", held_out),
        pairs=pairs,
        held_out=held_out,
    )


def draw(trees: list[tuple[str, str]], count: int, rng: random.Random) -> list[dict[str, str]]:
    rows = []
    for _ in range(count):
        (first, second), (third, fourth) = rng.choice(trees), rng.choice(trees)
        chosen, rejected = f" {first} {second}", f" {fourth} {third}"
        rows.append({"prompt": PROMPT, "chosen": chosen, "rejected": rejected})
    return rows
