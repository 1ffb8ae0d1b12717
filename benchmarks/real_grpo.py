"""Two ablations of GRPO on pretrained weights: the sums and products of the demo, over three seeds.

`trainer study grpo` runs the reference, no baseline, and no division by the group's standard
deviation, from SmolLM2 with equal numbers of updates; the peer of the last two is the reference.
The figures are greedy accuracies on held-out problems. Finished runs are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from benchmarks import record
from benchmarks._real import ON_A_CPU, RUNS, write_rows
from benchmarks.study import compared_settings, read_study
from touchstone_rewards.trainer.__main__ import main as trainer
from touchstone_rewards.trainer.config import read_yaml
from touchstone_rewards.trainer.demo.base_model import fetched_model
from touchstone_rewards.trainer.demo.command import CONFIG
from touchstone_rewards.trainer.demo.problems import split_calculations

SETTINGS = {
    "reference": {},
    "no_baseline": {"advantage": "none"},
    "mean_only": {"advantage": "group_mean"},
}
COMPARISONS = {
    "Does a baseline matter?": ["reference", "no_baseline"],
    "Does the group's deviation matter?": ["reference", "mean_only"],
}
# Fields of the demo that affect learning, not those for stopping or saving.
SHARED = (
    "reward_profile",
    "reward_timeout_s",
    "learning_rate",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "num_generations",
    "max_completion_length",
    "temperature",
    "beta",
    "chat_template",
)


class Sizes(NamedTuple):
    """Amounts of training and evaluation: about 3,500 processor seconds by default."""

    rollouts: int = 16
    held_out: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)


def study_config(folder: Path, model: Path, sizes: Sizes) -> dict[str, Any]:
    """Return the study's config, and write its rows into the folder."""
    problems = split_calculations(0)
    parts = {"train": problems.train, "test": problems.held_out[: sizes.held_out]}
    data = {
        name: str(write_rows(folder / f"{name}.jsonl", [each.row() for each in part]))
        for name, part in parts.items()
    }
    demo = read_yaml(str(CONFIG))
    return {
        "output": str(folder),
        "seeds": list(sizes.seeds),
        "rollouts": sizes.rollouts,
        "measure_every": max(1, sizes.rollouts // 2),
        "settings": SETTINGS,
        "comparisons": COMPARISONS,
        "grpo": {
            "model_name_or_path": str(model),
            "dataset_name": data["train"],
            "eval_dataset_name": data["test"],
            **ON_A_CPU,
            **{name: demo[name] for name in SHARED},
        },
    }


def main(
    folder: Path = RUNS / "grpo", model: Path | None = None, sizes: Sizes | None = None
) -> None:
    """Run the unfinished parts, then print and record the results."""
    torch.set_num_threads(1)
    sizes = sizes or Sizes()
    config = study_config(folder, model or fetched_model(), sizes)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert trainer(["study", "grpo", "--config", str(path)]) == 0
    found = read_study(folder)
    record(
        "real_grpo",
        compared_settings(found),
        peer="the reference, from the same weights at equal updates",
        sizes=sizes._asdict(),
        evidence=found["evidence"],
    )


if __name__ == "__main__":
    main()
