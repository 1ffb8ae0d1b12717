"""A plain function as a scorer, against the same function in concurrent.futures and asyncio.

Measures microseconds a sample of 2 KB with its ground truth: chunks of 8, 2 workers, rounds of all
contenders in turn, medians; wall-clock time, and CPU time of all processes, which other load
affects less. The executor has no deadlines and no memory limit, and loses everything when one
process dies. The peer of the async function is a semaphore and `wait_for`, 64 at a time, on one
loop.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import psutil

from benchmarks import record
from benchmarks._reward_functions import awaited, of_a_pair
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import ScorerSpec
from touchstone_rewards.reward_server.scoring.remote import RemoteScorers

SAMPLES, ROUNDS, CHUNK, TEXT_BYTES, IN_FLIGHT, DEADLINE_S = 4000, 15, 8, 2048, 64, 5.0
TRUTH = "46"
MODULE = "benchmarks._reward_functions"
IN_WORKERS = {
    "plain": f"{MODULE}:short_and_right",
    "batch": f"{MODULE}:in_batches",
    "TRL's form": f"trl:{MODULE}:for_trl",
}
Contender = Callable[[], Awaitable[None]]


def main() -> None:
    logging.disable(logging.WARNING)
    rows = asyncio.run(measured())
    for row in rows:
        print(f"{row['what']:58} {row['peer_name']:22}", *map(str, list(row.values())[2:]))
    record("functions", rows, load_average=os.getloadavg()[0])


async def measured() -> list[dict[str, Any]]:
    text = "x" * (TEXT_BYTES - len(TRUTH)) + TRUTH
    samples = [Sample(str(at), text, ground_truth=TRUTH) for at in range(SAMPLES)]
    specs = {key: ScorerSpec(name, {}) for key, name in IN_WORKERS.items()}
    pool = WorkerPool(specs, workers=2, chunk=CHUNK, recycle_after=100 * SAMPLES * ROUNDS)
    await pool.start()
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, context) as executor:
        contenders: dict[str, Contender] = {
            **{key: _in_workers(pool, key, samples) for key in specs},
            "async": _remote(samples),
            "ProcessPoolExecutor": _in_executor(executor, text),
            "gather with a semaphore": _gathered(samples),
        }
        found = await rounds(contenders)
    await pool.stop()
    peers = dict.fromkeys(specs, "ProcessPoolExecutor") | {"async": "gather with a semaphore"}
    return [
        _row(f"{kind} a sample, {key} function", peer, found[key], found[peer], part)
        for key, peer in peers.items()
        for part, kind in enumerate(("microseconds", "CPU microseconds of all processes"))
    ]


async def rounds(contenders: dict[str, Contender]) -> dict[str, list[tuple[float, float]]]:
    """Return for each contender and round the wall-clock and CPU microseconds per sample."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for at in range(ROUNDS + 1):
        for name, contender in contenders.items():
            began_s, began_cpu_s = time.perf_counter(), _cpu_s()
            await contender()
            took_s, took_cpu_s = time.perf_counter() - began_s, _cpu_s() - began_cpu_s
            if at:  # the first round warms up
                found[name].append((took_s / SAMPLES * 1e6, took_cpu_s / SAMPLES * 1e6))
    return found


def _row(
    what: str,
    peer: str,
    ours: Sequence[tuple[float, float]],
    theirs: Sequence[tuple[float, float]],
    part: int,
) -> dict[str, Any]:
    mine, other = (statistics.median(each[part] for each in one) for one in (ours, theirs))
    figures = {"ours": round(mine, 1), "peer": round(other, 1), "ratio": round(other / mine, 2)}
    return {"what": what, "peer_name": peer, **figures}


def _in_workers(pool: WorkerPool, key: str, samples: list[Sample]) -> Contender:
    async def run() -> None:
        assert {one.value for one in await pool.score(key, samples)} == {1.0}

    return run


def _in_executor(executor: ProcessPoolExecutor, text: str) -> Contender:
    pairs = [(text, TRUTH)] * SAMPLES

    async def run() -> None:
        assert set(executor.map(of_a_pair, pairs, chunksize=CHUNK)) == {1.0}

    return run


def _remote(samples: list[Sample]) -> Contender:
    scorer = build_scorer(f"{MODULE}:awaited", {})
    assert scorer.runs_in == "remote"
    remote = RemoteScorers(DEADLINE_S)

    async def run() -> None:
        found = await remote.score("async", scorer, samples, explain=False, give_up_at_s=None)
        assert {one.value for one in found} == {1.0}

    return run


def _gathered(samples: list[Sample]) -> Contender:
    async def run() -> None:
        turns = asyncio.Semaphore(IN_FLIGHT)

        async def one(sample: Sample) -> float:
            async with turns:
                return await asyncio.wait_for(awaited(sample.response, TRUTH), DEADLINE_S)

        assert set(await asyncio.gather(*map(one, samples))) == {1.0}

    return run


def _cpu_s() -> float:
    """Return the CPU seconds used so far by this process and its child processes."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family)


if __name__ == "__main__":
    main()
