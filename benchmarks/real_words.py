"""SFT, then GRPO with three seeds, on pretrained weights and the word problems of `quick_demo`.

Peers, on the same held-out problems, greedily: for SFT the original model, for GRPO the model after
SFT. `r1_zero` requires the answer in tags, `math` reads it in any format: a gain under `r1_zero`
only is a gain in format. Finished parts are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import record
from benchmarks._real import RUNS, compared, fill_page, measured, right_by_row, trained
from touchstone_rewards.trainer.demo.base_model import fetched_model
from touchstone_rewards.trainer.running.paired import difference, estimate
from touchstone_rewards.trainer.toy import demo
from touchstone_rewards.trainer.workflow.local_server import reward_server
from touchstone_rewards.trainer.workflow.stages import only_one


class Sizes(NamedTuple):
    """Amounts of training and evaluation: about 3,300 processor seconds by default."""

    sft_steps: int = 30
    grpo_steps: int = 16
    held_out: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)


FORMS = {"right, in tags": None, "right, in any form": "math"}


def make_data(folder: Path, sizes: Sizes) -> Path:
    """Make the problems of the small demo; its model is not used."""
    data = folder / "data"
    if not (data / "test.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        demo.make_data_and_model(folder, demo.DemoArguments(test_problems=sizes.held_out))
    return data


def train(folder: Path, model: Path, sizes: Sizes) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the lines of the evaluations: before, after SFT, and after GRPO with each seed."""
    data = make_data(folder, sizes)
    sft = trained(
        folder,
        "sft",
        "sft",
        model_name_or_path=str(model),
        dataset_name=str(data / "sft.jsonl"),
        learning_rate=2e-5,
        per_device_train_batch_size=16,
        max_steps=sizes.sft_steps,
        max_length=128,
        seed=0,
    )
    with reward_server(folder / "server.log") as url:

        def evaluated(name: str, of: Path) -> list[dict[str, Any]]:
            flags = ["--also_profile", "math", "--max_new_tokens=28", "--batch_size=50"]
            return measured(folder, name, of, data / "test.jsonl", url, "r1_zero", *flags)

        found = {"before": [evaluated("before", model)], "sft": [evaluated("after_sft", sft)]}
        found["grpo"] = []
        for seed in sizes.seeds:
            run = trained(
                folder,
                "grpo",
                f"grpo.seed{seed}",
                url,
                model_name_or_path=str(sft),
                dataset_name=str(data / "grpo.jsonl"),
                reward_profile="r1_zero",
                reward_timeout_s=600,
                learning_rate=1e-5,
                per_device_train_batch_size=32,
                num_generations=8,
                max_completion_length=24,
                temperature=1.0,
                beta=0.0,
                max_steps=sizes.grpo_steps,
                seed=seed,
            )
            found["grpo"].append(evaluated(f"after_grpo.seed{seed}", run))
    return found


def rows_of(found: dict[str, list[list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Return the changes by SFT and by GRPO, in tags and in any format."""
    rows = []
    for what, profile in FORMS.items():
        right = {
            name: [right_by_row(each, profile) for each in runs] for name, runs in found.items()
        }
        for this, other in (("sft", "before"), ("grpo", "sft")):
            ours, peer = right[this], right[other] * len(right[this])
            estimates = estimate(ours), estimate(peer), difference(ours, peer)
            rows.append(compared(f"{what}, after {this}; peer: {other}", *estimates))
    return rows


def main(
    folder: Path = RUNS / "words", model: Path | None = None, sizes: Sizes | None = None
) -> None:
    """Run the unfinished parts, then print and record the results."""
    torch.set_num_threads(1)
    sizes = sizes or Sizes()
    with only_one(folder):
        found = train(folder, model or fetched_model(), sizes)
    record(
        "real_words",
        rows_of(found),
        peer="the model one stage earlier",
        sizes=sizes._asdict(),
        responses=shown(found),
    )
    fill_page()


def shown(found: dict[str, list[list[dict[str, Any]]]]) -> dict[str, Sequence[str]]:
    """Return the first answers of each stage unchanged."""
    return {name: [line["response"] for line in runs[0][:4]] for name, runs in found.items()}


if __name__ == "__main__":
    main()
