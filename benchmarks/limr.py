"""The effect of LIM's selection on the tiny task: `make limr` over three seeds, at equal steps.

The peer of training on LIM's selection is training on a random one of the same size; full data and
the LINEAR selection are reported too. All runs share one start model; a seed sets the prompts,
their order and the samples. Finished stages are skipped, so an interrupted benchmark continues.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from benchmarks import record
from touchstone_rewards.trainer.__main__ import main as trainer
from touchstone_rewards.trainer.toy.word_problems import RL_PROMPTS, make_word_problems

SEEDS = (0, 1, 2)
ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "trainer" / "configs" / "limr_tiny.yaml"
RUNS = ROOT / "runs" / "limr_study"
ARMS = ("start", "full", "lim", "random", "linear")


def study(seed: int) -> dict[str, Any]:
    """Return the table of one seed."""
    folder = RUNS / f"seed{seed}"
    if not (folder / "0_start" / "done.json").is_file():
        shutil.copytree(RUNS / "start", folder / "0_start", dirs_exist_ok=True)
        data = folder / "0_start" / "data"
        prompts = (data / "grpo.jsonl").read_text(encoding="utf-8").splitlines(True)
        drawn = prompts[seed * RL_PROMPTS : (seed + 1) * RL_PROMPTS]
        (data / "rl.jsonl").write_text("".join(drawn), encoding="utf-8")
    flags = ["--config", str(CONFIG), "--output", str(folder), "--seed", str(seed)]
    assert trainer(["limr", *flags, "--ppo.disable_tqdm=true"]) == 0
    return json.loads((folder / "table.json").read_text(encoding="utf-8"))


def main() -> None:
    make_word_problems(RUNS / "start", seed=0)
    tables = {seed: study(seed) for seed in SEEDS}
    rows = []
    for arm in ARMS:
        accuracies = [table[arm]["accuracy"] for table in tables.values()]
        intervals = [table[arm]["accuracy_interval"] for table in tables.values()]
        shown = ", ".join(
            f"{each:.3f} [{low:.3f}, {high:.3f}]"
            for each, (low, high) in zip(accuracies, intervals, strict=True)
        )
        print(f"{arm:8} mean {statistics.fmean(accuracies):.3f}   by seed {shown}")
        rows.append({"what": arm, "accuracy_by_seed": accuracies, "intervals_by_seed": intervals})
    gains = [table["lim"]["accuracy"] - table["random"]["accuracy"] for table in tables.values()]
    print(f"LIM minus random, by seed: {', '.join(f'{gain:+.3f}' for gain in gains)}")
    lim, random = (
        statistics.fmean(table[arm]["accuracy"] for table in tables.values())
        for arm in ("lim", "random")
    )
    rows.append(
        {
            "what": "accuracy after training on LIM's prompts; peer: on as many random ones",
            "ours": lim,
            "peer": random,
            "ratio": lim / random,
            "difference_by_seed": gains,
        }
    )
    record("limr", rows, peer="a random selection of the same size", seeds=list(SEEDS))


if __name__ == "__main__":
    main()
