"""The verdict cache on and off, on the same worker pool in one run: math samples per second.

Groups of 16 answers of 2 KB to one question, of which 0, 8 or 15 repeat others of the group, as
short answers do. Rounds of both in turn, medians; wall-clock time, and CPU time of all processes.
Every round has new questions, so that nothing is cached from an earlier round. With 0 repeated
answers, the difference is the overhead of the cache.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import time
from typing import Any

import psutil

from benchmarks import record
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

GROUPS, GROUP, ROUNDS, TEXT_BYTES = 32, 16, 9, 2048
REPEATED = (0, 8, 15)
Figure = tuple[float, float]


def main() -> None:
    logging.disable(logging.WARNING)
    rows = asyncio.run(compare())
    for row in rows:
        print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    record("cache", rows, load_average=os.getloadavg()[0])


async def compare() -> list[dict[str, Any]]:
    engines = {name: engine(size) for name, size in {"on": 64 * 2**20, "off": 0}.items()}
    for each in engines.values():
        await each.start()
    rows = []
    for repeated in REPEATED:
        found: dict[str, list[Figure]] = {name: [] for name in engines}
        for turn in range(ROUNDS + 1):
            for name, each in engines.items():
                figure = await measure(each, questions(f"{repeated}/{turn}", repeated))
                if turn:  # the first round warms up
                    found[name].append(figure)
        rows.append(row(repeated, found))
    for each in engines.values():
        await each.stop()
    return rows


def engine(cache_bytes: int) -> Engine:
    settings = load_settings(overrides={"workers": 2, "cache_bytes": cache_bytes})
    return create_engine(load_profiles(), settings, Metrics())


def questions(name: str, repeated: int) -> list[Sample]:
    """Make `GROUPS` groups in which `repeated` answers repeat others of the group."""
    samples = []
    for group in range(GROUPS):
        for at in range(GROUP):
            text = f"{name} {group} {at % (GROUP - repeated)} ".ljust(TEXT_BYTES, ".")
            answer = f"{text} \\boxed{{\\frac{{{group + 1}}}{{{at % (GROUP - repeated) + 2}}}}}"
            samples.append(Sample(f"{group}/{at}", answer, ground_truth=f"{group + 1}/3"))
    return samples


async def measure(engine: Engine, samples: list[Sample]) -> Figure:
    """Return wall-clock and CPU microseconds per sample."""
    cpu, began_s = cpu_s(), time.perf_counter()
    await engine.score(ScoreRequest(samples, profile="math"))
    took_s = time.perf_counter() - began_s
    return took_s / len(samples) * 1e6, (cpu_s() - cpu) / len(samples) * 1e6


def cpu_s() -> float:
    here = psutil.Process()
    times = [each.cpu_times() for each in (here, *here.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def row(repeated: int, found: dict[str, list[Figure]]) -> dict[str, Any]:
    on_us, off_us = (statistics.median(f[0] for f in found[name]) for name in ("on", "off"))
    on_cpu_us, off_cpu_us = (statistics.mean(f[1] for f in found[name]) for name in ("on", "off"))
    return {
        "what": f"math samples a second, {repeated} of {GROUP} answers repeated",
        "ours": round(1e6 / on_us),
        "peer": round(1e6 / off_us),
        "peer_name": "without the cache",
        "ratio": round(off_us / on_us, 2),
        "cpu_us": round(on_cpu_us, 1),
        "peer_cpu_us": round(off_cpu_us, 1),
        "cpu_ratio": round(off_cpu_us / on_cpu_us, 2),
    }


if __name__ == "__main__":
    main()
