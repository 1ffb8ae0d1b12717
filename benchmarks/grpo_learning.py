"""GRPO on the tiny task with fields that choose rows, groups or tokens, over three seeds.

The peer of each field is plain GRPO from the same model on the same rows: held-out accuracy after
equal numbers of rollouts, with generated samples and training time. Finished runs are skipped, so
an interrupted benchmark continues.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks import record
from touchstone_rewards.trainer.__main__ import main as trainer
from touchstone_rewards.trainer.data.kept_samples import read_samples

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "trainer" / "configs" / "learning_tiny.yaml"
RUNS = ROOT / "runs" / "grpo_learning"  # as in the config, relative to the root of the checkout


def cost(name: str, seeds: list[int]) -> dict[str, float]:
    """Return means over the seeds: generated samples, and seconds in training steps."""
    samples, seconds = [], []
    for seed in seeds:
        folder = RUNS / f"{name}.seed{seed}"
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        samples.append(sum(1 for _ in read_samples(folder / "samples")))
        seconds.append(sum(row.get("step_time") or 0.0 for row in state["log_history"]))
    return {"samples": statistics.fmean(samples), "training_s": statistics.fmean(seconds)}


def main() -> None:
    assert trainer(["study", "grpo", "--config", str(CONFIG)]) == 0
    found: dict[str, Any] = json.loads((RUNS / "study.json").read_text(encoding="utf-8"))
    seeds = [int(seed) for seed in found["seeds"]]
    rows = []
    for each in found["comparisons"]:
        ours, peer = (
            found["settings"][each[name]][each["measure"]]["mean"] for name in ("this", "other")
        )
        rows.append(
            {
                "what": f"{each['question']}: {each['measure']}",
                "ours": ours,
                "peer": peer,
                "ratio": ours / peer if peer else None,
                "difference_interval": each["interval"],
                "difference_by_seed": each["by_seed"],
                "cost": cost(each["this"], seeds),
                "peer_cost": cost(each["other"], seeds),
            }
        )
    record("grpo_learning", rows, peer="plain GRPO", seeds=seeds, evidence=found["evidence"])
