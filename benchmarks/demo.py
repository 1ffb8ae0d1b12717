"""`make demo` over three seeds: what a pretrained model learns from the server, with the spread.

The peer is the same model before training, on the same held-out problems. Every run that is done is
skipped, so that one that was stopped goes on with the next seed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import ROOT, record

RUNS = ROOT / "runs" / "demo_seeds"
SEEDS = (0, 1, 2)


def result_of(seed: int) -> dict[str, Any]:
    """The figures of the demo with this seed, run unless they are there."""
    folder = RUNS / str(seed)
    if not (folder / "result.json").is_file():
        words = [sys.executable, "-m", "touchstone_rewards.trainer", "demo", f"--seed={seed}"]
        subprocess.run([*words, f"--output={folder}"], check=False)  # that nothing is learnt counts
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def spread(values: list[float]) -> dict[str, float]:
    """Mean, least and most."""
    return {"mean": statistics.fmean(values), "least": min(values), "most": max(values)}


def main() -> None:
    """Run the seeds and write what they show."""
    results = [result_of(seed) for seed in SEEDS]
    rows = []
    for what in ("right", "number", "right_of_numbers"):
        before, after = (
            spread([each["held_out"][name][what]["value"] for each in results])
            for name in ("before", "after")
        )
        ratio = after["mean"] / before["mean"] if before["mean"] else None
        rows.append(
            {"what": f"held-out problems: {what}", "ours": after, "peer": before, "ratio": ratio}
        )
    record("demo", rows, peer="the same model before training", runs=results)
    for row in rows:
        print(f"{row['what']}: {row['peer']['mean']:.1%} before, {row['ours']['mean']:.1%} after")
