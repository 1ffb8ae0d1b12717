"""`reward-server score` on Ray Data with two actors, against the single-process command with two
workers.

Samples are real solutions, each with a unique id and text. Measured in turn: samples per processor
second of the whole process tree, and per wall-clock second.

The start costs the same however much is scored: it is measured with a small file and subtracted;
the figures that include it are reported too.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks import record
from benchmarks.capacity import SOLUTIONS, samples

SAMPLES, FEW = 200_000, 200
ROUNDS = 2
PARTS = 16
POLL_S = 0.2
ENGINES = {
    "local": ["--workers", "2"],
    "ray": ["--engine", "ray", "--concurrency", "2", "--partition_bytes"],
}


def write(path: Path, count: int) -> None:
    with path.open("wb") as target:
        for sample in itertools.islice(samples(), count):
            sample["response"] = f"Solution {sample['id']}. {sample['response']}"
            target.write(msgspec.json.encode(sample) + b"\n")


def processor_s(process: psutil.Popen) -> float:
    """Run the command to its end; return the processor seconds of its whole process tree."""
    used: dict[tuple[int, float], float] = {}
    while process.poll() is None:
        for each in [process, *_below(process)]:
            try:
                times = each.cpu_times()
                used[each.pid, each.create_time()] = times.user + times.system
            except psutil.Error:  # ended meanwhile
                continue
        time.sleep(POLL_S)
    assert process.returncode == 0, process.returncode
    return sum(used.values())


def _below(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:  # it has just ended
        return []


def spent(engine: str, source: Path, folder: Path) -> tuple[float, float]:
    """Return processor seconds and wall-clock seconds of one run."""
    options = list(ENGINES[engine])
    if engine == "ray":
        options.append(str(source.stat().st_size // PARTS + 1))
    output = folder / f"{engine}-{time.monotonic_ns()}"
    command = [
        sys.executable,
        "-m",
        "touchstone_rewards.reward_server",
        "score",
        "--input",
        str(source),
    ]
    began_s = time.perf_counter()
    process = psutil.Popen(
        [*command, "--output", str(output), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    return processor_s(process), time.perf_counter() - began_s


def rounds(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """Return for each engine and round the processor and wall-clock seconds for few samples, then
    for all."""
    few, many = folder / "few.jsonl", folder / "many.jsonl"
    write(few, FEW)
    write(many, SAMPLES)
    found: dict[str, list[tuple[float, ...]]] = {engine: [] for engine in ENGINES}
    for _ in range(ROUNDS):
        for engine in ENGINES:
            found[engine].append((*spent(engine, few, folder), *spent(engine, many, folder)))
            print(engine, *(f"{figure:.1f}" for figure in found[engine][-1]), flush=True)
    return found


def row(what: str, seconds: dict[str, float]) -> dict[str, Any]:
    ours, peer = SAMPLES / seconds["ray"], SAMPLES / seconds["local"]
    print(f"{what:60} {ours:>9,.0f} {peer:>9,.0f}  {ours / peer:.2f}")
    figures = {"ours": round(ours), "peer": round(peer), "ratio": round(ours / peer, 2)}
    return {"what": what, "peer_name": "--engine local --workers 2", **figures}


def main() -> None:
    if not SOLUTIONS.is_file():
        print(f"{SOLUTIONS.name} not found: nothing to measure")
        return
    with tempfile.TemporaryDirectory() as folder:
        found = rounds(Path(folder))
    columns = {
        engine: [statistics.median(column) for column in zip(*each, strict=True)]
        for engine, each in found.items()
    }
    rows = []
    for at, kind in enumerate(("samples a processor second", "samples a second by the clock")):
        whole = {engine: column[at + 2] for engine, column in columns.items()}
        net = {engine: column[at + 2] - column[at] for engine, column in columns.items()}
        rows += [row(f"{kind}, less the start", net), row(f"{kind}, start included", whole)]
    record("bulk", rows, samples=SAMPLES, rounds=ROUNDS, load_average=os.getloadavg()[0])
