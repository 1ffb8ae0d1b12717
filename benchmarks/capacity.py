"""Measure the cost of a sample to the server, by profile and by samples per request.

`reward-server plan` reads the results from `reward_server/commands/capacity.json`. The cost is the
processor time of the server's process and of its workers, over real solutions, with as many
requests in flight as trainers have; there are no peers.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks import RESULTS, machine, processor_s, record
from benchmarks._load import ahead_of_others, load_of, post
from touchstone_rewards.reward_server.commands.capacity import MEASURED
from touchstone_rewards.reward_server.live_server import LiveServer

SOLUTIONS = Path(__file__).parents[1] / ".." / "shared" / "data" / "gsm8k_model_solutions.jsonl"
PROFILES = ("dummy", "format", "math", "r1_zero")
# Samples per request -> connections, requests per round.
SIZES = {1: (64, 2048), 512: (4, 8)}
ROUNDS = 5


def samples() -> Iterator[dict[str, Any]]:
    """Yield real solutions of about 500 characters, endlessly, with unique ids."""
    rows = [msgspec.json.decode(line) for line in SOLUTIONS.read_bytes().splitlines()]
    solved = [
        (row["ground_truth"].rpartition("A: ")[2], each["solution"])
        for row in rows
        for each in row.values()
        if isinstance(each, dict)
    ]
    for number, (truth, text) in enumerate(itertools.cycle(solved)):
        yield {"id": str(number), "response": text, "ground_truth": truth}


def spent_ms(server: psutil.Process) -> tuple[float, float]:
    """Return the processor time so far of the server's own process, and of its child processes."""
    below = server.children(recursive=True)
    return processor_s(server.pid) * 1e3, sum(processor_s(each.pid) for each in below) * 1e3


def cost(server: LiveServer, profile: str, size: int, source: Iterator[Any]) -> dict[str, float]:
    """Return milliseconds per sample, the medians of the rounds after the first."""
    assert server.process is not None
    process, (connections, requests) = psutil.Process(server.process.pid), SIZES[size]
    rounds: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        bodies = [
            post("/score", {"profile": profile, "samples": list(itertools.islice(source, size))})
            for _ in range(requests)
        ]
        below = process.children(recursive=True)
        with ahead_of_others(process.pid, *(each.pid for each in below)):
            before = spent_ms(process)
            asyncio.run(load_of(server.port, iter(bodies), connections))
            spent = zip(before, spent_ms(process), strict=True)
        rounds.append([(late - early) / (size * requests) for early, late in spent])
    own, below = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return {"server_ms": round(own, 4), "worker_ms": round(below, 4)}


def main() -> None:
    if not SOLUTIONS.is_file():
        print(f"{SOLUTIONS.name} not found: nothing to measure")
        return
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with LiveServer(log, "--cache_bytes", "0") as live:  # every round has the same answers
            source = samples()
            found = {
                profile: {str(size): cost(live, profile, size, source) for size in SIZES}
                for profile in PROFILES
            }
    write(found)


def write(found: dict[str, dict[str, dict[str, float]]]) -> None:
    rows = [
        {"what": f"{profile}, requests of {size}: samples/s a core", "ours": 1e3 / sum(ms.values())}
        | {"peer": None, "ratio": 1.0, **ms}
        for profile, by_size in found.items()
        for size, ms in by_size.items()
    ]
    for row in rows:
        print(
            f"{row['what']:48} {row['ours']:>10,.0f}   {row['server_ms']} + {row['worker_ms']} ms"
        )
    record("capacity", rows)
    about = machine()
    content = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{about['processor']}, {about['cores']} cores",
        "cost_ms": found,
        "model_efficiency": model_efficiency(),
    }
    MEASURED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def model_efficiency() -> float:
    """Return the share of the matmul rate that the reward-model benchmark reached in bfloat16."""
    rows = json.loads((RESULTS / "reward_model.json").read_text(encoding="utf-8"))["rows"]
    return round(
        next(row["ratio"] for row in rows if "bfloat16: useful operations" in row["what"]), 2
    )
