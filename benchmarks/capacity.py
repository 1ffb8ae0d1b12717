"""Measure the cost of a sample to the server, by profile and by samples per request.

`reward-server plan` reads the results from `reward_server/commands/capacity.json`. The cost is the
processor time of the server's process and of its workers, over real solutions; there are no peers.
"""

from __future__ import annotations

import datetime
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import psutil

from benchmarks import RESULTS, machine, record
from touchstone_rewards.reward_server.commands.capacity import MEASURED
from touchstone_rewards.reward_server.live_server import LiveServer

SOLUTIONS = Path(__file__).parents[1] / ".." / "shared" / "data" / "gsm8k_model_solutions.jsonl"
PROFILES = ("dummy", "format", "math", "r1_zero")
SIZES = {1: 600, 512: 40}  # samples per request -> requests per round
ROUNDS = 3


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


def processor_ms(process: psutil.Process) -> float:
    used = process.cpu_times()
    return (used.user + used.system) * 1e3


def spent_ms(server: psutil.Process) -> tuple[float, float]:
    """Return the processor time so far of the server's own process, and of its child processes."""
    below = server.children(recursive=True)
    return processor_ms(server), sum(processor_ms(child) for child in below)


def cost(
    client: httpx2.Client, server: psutil.Process, profile: str, size: int, source: Iterator[Any]
) -> dict[str, float]:
    """Return milliseconds a sample, the medians of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        bodies = [
            msgspec.json.encode(
                {"profile": profile, "samples": list(itertools.islice(source, size))}
            )
            for _ in range(SIZES[size])
        ]
        before = spent_ms(server)
        for body in bodies:
            client.post("/score", content=body).raise_for_status()
        after = spent_ms(server)
        count = size * SIZES[size]
        rounds.append([(late - early) / count for early, late in zip(before, after, strict=True)])
    own, below = (statistics.median(column) for column in zip(*rounds, strict=True))
    return {"server_ms": round(own, 4), "worker_ms": round(below, 4)}


def main() -> None:
    if not SOLUTIONS.is_file():
        print(f"{SOLUTIONS.name} not found: nothing to measure")
        return
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with LiveServer(log, "--cache_bytes", "0") as live:  # every round has the same answers
            assert live.process is not None
            server, source = psutil.Process(live.process.pid), samples()
            with httpx2.Client(base_url=live.url, timeout=120) as client:
                found = {
                    profile: {
                        str(size): cost(client, server, profile, size, source) for size in SIZES
                    }
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
