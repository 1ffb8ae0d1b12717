"""`trainer lim` on a store of the size of the paper's run: 1.5 million kept samples.

Ours is the command as a user runs it, including start-up. The peer does the work of LIMR's own
selection script on the same lines: parse every sample completely, hold all in memory, then compute.
For lack of memory it gets a tenth of the store; the ratio is of seconds a sample there.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import record

PROMPTS, EPOCHS, SAMPLES_A_PROMPT = 8_523, 22, 8
RESPONSE = "So the sum of the two is forty and what is left of it must be even. " * 12


def write_store(folder: Path, prompts: int) -> int:
    """Write one file per epoch; return the number of samples."""
    rng = random.Random(0)
    gain = [rng.random() for _ in range(prompts)]
    for epoch in range(EPOCHS):
        with (folder / f"samples_step_{epoch + 1}.jsonl").open("w") as file:
            for prompt in range(prompts):
                for sample in range(SAMPLES_A_PROMPT):
                    right = rng.random() < gain[prompt] * (epoch + 1) / EPOCHS
                    file.write(json.dumps(_line(epoch, prompt, sample, right)) + "\n")
    return prompts * EPOCHS * SAMPLES_A_PROMPT


def _line(epoch: int, prompt: int, sample: int, right: bool) -> dict[str, object]:
    return {
        "id": f"math-{prompt}/{sample}",
        "prompt": f"Question {prompt}: what is the sum of {prompt} and {prompt + 1}?",
        "response": RESPONSE,
        "reward": 1.0 if right else -1.0,
        "scores": {"math": float(right), "format": 1.0},
        "step": epoch + 1,
        "epoch": float(epoch),
        "group": f"math-{prompt}",
        "fingerprint": "9f2c51d0a7be",
        "ground_truth": str(2 * prompt + 1),
        "status": "ok",
        "error": None,
        "metadata": {},
    }


def ours(store: Path, output: Path) -> tuple[float, float]:
    """Return the seconds, and the peak resident memory in GB."""
    command = [sys.executable, "-m", "touchstone_rewards.trainer", "lim", "--samples", str(store)]
    started_s = time.perf_counter()
    subprocess.run([*command, "--output", str(output), "--threshold", "0.2"], check=True)
    elapsed_s = time.perf_counter() - started_s
    return elapsed_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def peer(store: Path) -> float:
    """Return the seconds of the simple way: everything parsed and held, dictionaries of lists."""
    started_s = time.perf_counter()
    epochs = [
        [json.loads(line) for line in (store / f"samples_step_{epoch + 1}.jsonl").open()]
        for epoch in range(EPOCHS)
    ]
    accuracies: dict[str, list[float]] = defaultdict(list)
    for samples in epochs:
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for sample in samples:
            counts[sample["prompt"].strip()][0] += sample["reward"] == 1
            counts[sample["prompt"].strip()][1] += 1
        for prompt, (right, total) in counts.items():
            accuracies[prompt].append(right / total)
    means = [sum(column) / len(accuracies) for column in zip(*accuracies.values(), strict=True)]
    room = sum((1 - mean) ** 2 for mean in means)
    scores = {
        prompt: 1 - sum((v - m) ** 2 for v, m in zip(values, means, strict=True)) / room
        for prompt, values in accuracies.items()
    }
    assert max(scores.values()) <= 1
    return time.perf_counter() - started_s


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        small, full = Path(name, "small"), Path(name, "full")
        small.mkdir()
        full.mkdir()
        few = write_store(small, PROMPTS // 10)
        many = write_store(full, PROMPTS)
        small_s, _ = ours(small, Path(name, "small_selection"))
        peer_s = peer(small)
        full_s, memory_gb = ours(full, Path(name, "selection"))
    per_sample_s = (full_s - small_s) / (many - few)
    print(f"{many:,} samples in {full_s:.1f} s, {memory_gb:.2f} GB at most")
    print(f"{1e6 * per_sample_s:.2f} µs a sample; LIMR's way {1e6 * peer_s / few:.2f} µs")
    record(
        "lim",
        [
            {
                "what": "µs a sample (start-up left out of ours)",
                "ours": 1e6 * per_sample_s,
                "peer": 1e6 * peer_s / few,
                "ratio": peer_s / few / per_sample_s,
                "floor": 1.0,
            }
        ],
        peer="LIMR's selection script, its method on the same lines, a tenth of them",
        samples=many,
        seconds=full_s,
        peak_memory_gb=memory_gb,
        wanted="1.5 million samples in under 120 s and 2 GB",
    )


if __name__ == "__main__":
    main()
