"""The worker pool against concurrent.futures.ProcessPoolExecutor and pebble's ProcessPool.

Overhead: microseconds a sample of 2 KB with a trivial scorer, 2 workers, rounds of all contenders
in turn, medians; wall-clock time, and CPU time, which other load affects less. Deadlines:
milliseconds after a deadline of 300 ms until the failure is reported and until the next sample is
done; the executor has no deadlines. Kills: 60 random `kill -9` during 1,500 samples of 4 ms. All
pools use a fork server; ours runs on asyncio's own loop.

The floor of a sample sent alone is one round trip of 2 KB as msgpack over a socket pair.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from typing import Any, ClassVar, Literal

import psutil
from msgspec import msgpack

from benchmarks import record
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec

SAMPLES, REPEATS, ROUNDS, CHUNKS, TEXT_BYTES = 4000, 3, 9, (1, 8), 2048
DEADLINE_S, OUR_TRIALS, PEER_TRIALS = 0.3, 40, 3
KILLS, KILL_EVERY_S, KILL_SAMPLES, KILL_SAMPLE_S, KILL_WAIT_S = 60, 0.03, 1500, 0.004, 20.0
HANGS = ("loop", "regex", "stuck_in_c")
Rows = list[dict[str, Any]]


def act(text: str) -> float:
    """Process a text in a worker: hang if it names a way to hang, sleep, or return its length."""
    if text == "loop":
        while True:
            pass
    if text == "regex":
        re.match(r"(a+)+$", "a" * 64 + "b")
    if text == "stuck_in_c":
        _ = 9**9**9**9
    if text == "sleep":
        time.sleep(KILL_SAMPLE_S)
    return float(len(text))


class Act:
    """`act` as a scorer."""

    version: ClassVar[str] = "1"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    runs_in: ClassVar[Literal["worker"]] = "worker"
    reads: ClassVar[tuple[str, ...]] = ("response",)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(act(sample.response)) for sample in samples]


def main() -> None:
    logging.disable(logging.WARNING)
    rows = [*overhead(), *deadlines(), *kills()]
    for row in rows:
        figures = {key: value for key, value in row.items() if key != "what" and value is not None}
        print(f"{row['what']:66}", *(f"{key} {value}" for key, value in figures.items()), sep="  ")
    record("workers", rows, load_average=os.getloadavg()[0])


def our_pool(**options: Any) -> WorkerPool:
    return WorkerPool({"act": ScorerSpec("benchmarks.workers:Act", {})}, **options)


def samples_of(texts: Sequence[str]) -> list[Sample]:
    return [Sample(id=str(at), response=text) for at, text in enumerate(texts)]


def peers(workers: int) -> dict[str, Any]:
    """Return the peers' pools by name; leave out pebble, with a message, if it is not installed."""
    context = multiprocessing.get_context("forkserver")
    found: dict[str, Any] = {"ProcessPoolExecutor": ProcessPoolExecutor(workers, context)}
    try:
        from pebble import ProcessPool  # pyright: ignore[reportMissingImports]

        found["pebble"] = ProcessPool(workers, context=context)
    except ImportError:
        print("pebble is not installed (pip install pebble): not compared")
    return found


def rounded(ours: float, peer: float | None, floor: float | None = None) -> dict[str, Any]:
    figures = {"ours": round(ours, 1), "peer": None if peer is None else round(peer, 1)}
    ratio = None if peer is None else round(peer / ours, 2)
    return {**figures, "ratio": ratio, "floor": None if floor is None else round(floor, 1)}


def overhead() -> Rows:
    texts = ["x" * TEXT_BYTES] * SAMPLES
    others = peers(2)
    for pool in others.values():
        run_peer(pool, texts, 8)
    rows: Rows = []
    floor_us = round_trip_us()
    for chunk in CHUNKS:
        found = asyncio.run(overhead_rounds(chunk, texts, others))
        ours = found.pop("ours")
        for name, theirs in found.items():
            for part, kind in enumerate(("microseconds", "CPU microseconds of all processes")):
                floor = floor_us if chunk == 1 and part == 0 else None
                figures = rounded(
                    statistics.median(figure[part] for figure in ours),
                    statistics.median(figure[part] for figure in theirs),
                    floor,
                )
                what = f"{kind} a sample, chunks of {chunk}"
                rows.append({"what": what, "peer_name": name, **figures})
    for pool in others.values():
        close(pool)
    return rows


async def overhead_rounds(
    chunk: int, texts: list[str], others: dict[str, Any]
) -> dict[str, list[tuple[float, float]]]:
    """Return for each contender and round the wall-clock and CPU microseconds per sample."""
    samples = samples_of(texts)
    pool = our_pool(workers=2, chunk=chunk, recycle_after=SAMPLES * (ROUNDS * REPEATS + 2))
    await pool.start()
    await pool.score("act", samples)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("ours", *others)}
    for _ in range(ROUNDS):
        began = clocks()
        for _ in range(REPEATS):
            await pool.score("act", samples)
        found["ours"].append(spent_us(began))
        for name, peer in others.items():
            began = clocks()
            for _ in range(REPEATS):
                run_peer(peer, texts, chunk)
            found[name].append(spent_us(began))
    await pool.stop()
    return found


def clocks() -> tuple[float, float]:
    """Return the time, and the CPU seconds used by this process and its child processes."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return time.perf_counter(), sum(sum(each.cpu_times()[:2]) for each in family)


def spent_us(began: tuple[float, float]) -> tuple[float, float]:
    now_s = time.perf_counter()
    cpu_s = clocks()[1]
    count = SAMPLES * REPEATS
    return (now_s - began[0]) / count * 1e6, (cpu_s - began[1]) / count * 1e6


def run_peer(pool: Any, texts: list[str], chunk: int) -> None:
    mapped = pool.map(act, texts, chunksize=chunk)
    assert len(list(mapped if isinstance(pool, Executor) else mapped.result())) == len(texts)


def close(pool: Any) -> None:
    if isinstance(pool, Executor):
        pool.shutdown()
    else:
        pool.stop()
        pool.join()


def round_trip_us(trips: int = 5000) -> float:
    """Return the median microseconds to send a sample to another process and its score back."""
    near, far = socket.socketpair()
    if os.fork() == 0:
        near.close()
        while data := far.recv(1 << 16):
            msgpack.decode(data, type=list[Sample])
            far.send(msgpack.encode([Score(1.0)]))
        os._exit(0)
    far.close()
    sample, times = samples_of(["x" * TEXT_BYTES]), []
    for _ in range(trips):
        began_s = time.perf_counter()
        near.send(msgpack.encode(sample))
        msgpack.decode(near.recv(1 << 16), type=list[Score])
        times.append((time.perf_counter() - began_s) * 1e6)
    near.close()
    os.wait()
    return statistics.median(times)


def deadlines() -> Rows:
    rows: Rows = []
    for hang in HANGS:
        ours = asyncio.run(our_overshoots(hang, OUR_TRIALS))
        theirs = pebble_overshoots(hang, PEER_TRIALS)
        for part, what in enumerate(("the failure is reported", "the next sample is done")):
            ms = [trial[part] for trial in ours]
            peer = statistics.median(trial[part] for trial in theirs) if theirs else None
            row = {"what": f"ms after the deadline until {what}, {hang}", "peer_name": "pebble"}
            ours_p99 = round(statistics.quantiles(ms, n=100)[98], 1)
            rows.append(row | rounded(statistics.median(ms), peer) | {"ours_p99": ours_p99})
    return rows


async def our_overshoots(hang: str, trials: int) -> list[tuple[float, float]]:
    """Return for each trial the ms after the deadline until the failure, and until the next
    score."""
    pool = our_pool(workers=1, spares=1, sample_deadline_s=DEADLINE_S)
    await pool.start()
    found = []
    for _ in range(trials):
        began_s = time.perf_counter()
        hanging = asyncio.create_task(pool.score("act", samples_of([hang])))
        await asyncio.sleep(DEADLINE_S / 10)
        following = asyncio.create_task(pool.score("act", samples_of(["next"])))
        (failure,) = await hanging
        failed_s = time.perf_counter() - began_s
        await following
        assert failure.error is not None
        assert failure.error.code == "deadline_exceeded"
        found.append(after_deadline_ms(failed_s, time.perf_counter() - began_s))
        await asyncio.sleep(0.05)
    await pool.stop()
    return found


def pebble_overshoots(hang: str, trials: int) -> list[tuple[float, float]]:
    pool = peers(1).get("pebble")
    if pool is None:
        return []
    pool.schedule(act, args=["warm"]).result()
    found = []
    for _ in range(trials):
        began_s = time.perf_counter()
        hanging = pool.schedule(act, args=[hang], timeout=DEADLINE_S)
        following = pool.schedule(act, args=["next"])
        assert hanging.exception() is not None
        failed_s = time.perf_counter() - began_s
        following.result()
        found.append(after_deadline_ms(failed_s, time.perf_counter() - began_s))
    close(pool)
    return found


def after_deadline_ms(failed_s: float, next_s: float) -> tuple[float, float]:
    return (failed_s - DEADLINE_S) * 1e3, (next_s - DEADLINE_S) * 1e3


def kills() -> Rows:
    """Run each pool in a separate process, since a peer may never return."""
    outcomes = {name: storm_in_subprocess(name) for name in ("ours", *peers(1))}
    rows: Rows = []
    for name, outcome in outcomes.items():
        row = {"what": f"of {KILL_SAMPLES} samples under random kill -9", "pool": name}
        rows.append(row | outcome)
    return rows


def storm_in_subprocess(name: str) -> dict[str, int]:
    code = f"from benchmarks.workers import storm; storm({name!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def storm(name: str) -> None:
    """Print how many samples were scored, failed, or were still unanswered at the end."""
    outcome = asyncio.run(our_storm()) if name == "ours" else peer_storm(peers(2)[name])
    print(json.dumps(outcome), flush=True)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(0)


async def our_storm() -> dict[str, int]:
    pool = our_pool(workers=2)
    await pool.start()
    call = asyncio.create_task(pool.score("act", samples_of(["sleep"] * KILL_SAMPLES)))
    dice, killed = random.Random(1), 0
    for _ in range(KILLS):
        killed += not call.done() and await asyncio.to_thread(kill_one, dice)
        await asyncio.sleep(KILL_EVERY_S)
    await asyncio.wait([call], timeout=KILL_WAIT_S)
    scores = call.result() if call.done() else []
    scored = sum(score.value is not None for score in scores)
    missing = KILL_SAMPLES - len(scores)
    return {
        "kills": killed,
        "scored": scored,
        "failed": len(scores) - scored,
        "never_answered": missing,
    }


def peer_storm(pool: Any) -> dict[str, int]:
    def submit(text: str) -> Any:
        if isinstance(pool, Executor):
            return pool.submit(act, text)
        return pool.schedule(act, args=[text])

    submit("warm").result()
    futures = [submit("sleep") for _ in range(KILL_SAMPLES)]
    dice, killed = random.Random(1), 0
    for _ in range(KILLS):
        killed += not all(future.done() for future in futures) and kill_one(dice)
        time.sleep(KILL_EVERY_S)
    wait(futures, timeout=KILL_WAIT_S)
    done = [future for future in futures if future.done()]
    scored = sum(not future.cancelled() and future.exception() is None for future in done)
    return {
        "kills": killed,
        "scored": scored,
        "failed": len(done) - scored,
        "never_answered": KILL_SAMPLES - len(done),
    }


def kill_one(dice: random.Random) -> int:
    """Kill one of the workers, which are children of the fork server."""
    here = psutil.Process()
    workers = [child for child in here.children(recursive=True) if child.ppid() != here.pid]
    if workers:
        dice.choice(workers).kill()
    return len(workers[:1])


if __name__ == "__main__":
    main()
