"""A long run at full load with hostile answers, hang-ups and kills: nothing may be lost or leak.

`python -m benchmarks.soak --minutes 30 [--hostile FILE.jsonl]`. Callers score good and hostile
answers. Others hang up in the middle of a request or an answer, or send bodies that are rejected,
and once a second a worker is killed. Every minute prints one line: samples scored, errors by code,
lost samples, resident memory of server, fork server and workers, open files, processes. Workers are
replaced all the time, and a new one is small, so the check covers the memory of server and fork
server, the largest worker of each minute, and the counts. After a warm-up of a third of the time,
in which caches, windows and ten minutes of history fill, memory must stay within 5% of its level
and the counts below the number that the load explains. Otherwise, or if a sample is lost, the exit
status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import ROOT, live_server, record
from touchstone_rewards.clients import AsyncRemoteRewardClient
from touchstone_rewards.reward_server.live_server import LiveServer

HOSTILE = ROOT.parent / "shared" / "data" / "math_hostile.jsonl"
HOSTILE_SHARE = 0.01
CALLERS, BATCH = 4, 64
KILL_EVERY_S, RUDE_EVERY_S = 1.0, 0.05
# Files that a killed worker leaves open until it is replaced, and changing connections.
MORE_FILES, MORE_PROCESSES = 16, 4
COUNTS = {"open files": MORE_FILES, "processes": MORE_PROCESSES}
WARM_UP, FLAT = 1 / 3, 0.05  # the dashboard's history alone takes ten minutes to fill


@dataclass
class Tally:
    scored: int = 0
    lost: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def good(chance: random.Random, place: int) -> dict[str, Any]:
    truth = chance.randrange(10**6)
    said = truth if chance.random() < 0.5 else truth + 1
    text = "Let me think. " * chance.randrange(5, 150)
    return {
        "id": str(place),
        "response": f"{text}So it is \\boxed{{{said}}}.",
        "ground_truth": str(truth),
    }


def hostile_samples(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = (
        (row["pred"] if "pred" in row else repeated(row["pred_parts"]), row["ground_truth"])
        for row in rows
    )
    return [{"response": answer, "ground_truth": truth} for answer, truth in answers]


def repeated(parts: Sequence[tuple[str, int]]) -> str:
    """Join the pieces of a long answer, which is stored as pieces and counts."""
    return "".join(piece * count for piece, count in parts)


def batch(chance: random.Random, hostile: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**chance.choice(hostile), "id": str(place)}
        if hostile and chance.random() < HOSTILE_SHARE
        else good(chance, place)
        for place in range(BATCH)
    ]


async def caller(
    client: AsyncRemoteRewardClient,
    seed: int,
    hostile: Sequence[dict[str, Any]],
    until_s: float,
    tally: Tally,
) -> None:
    chance = random.Random(seed)
    while time.monotonic() < until_s:
        samples = batch(chance, hostile)
        results = await client.score(samples)
        answered = [result.id for result in results] == [sample["id"] for sample in samples]
        tally.lost += 0 if answered else len(samples)
        tally.scored += len(results)
        tally.errors.update(result.error.code for result in results if result.error)


async def rude(port: int, until_s: float) -> None:
    """Make bad connections: cut off in a request or an answer, or rejected."""
    chance = random.Random(0)
    body = json.dumps({"samples": [good(chance, at) for at in range(BATCH)]}).encode()
    head = b"POST /score HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n"
    whole = head % len(body) + body
    wrong = b'{"samples": [{"id": "a", "response": "x", "metadata": {"a": %s}}]}'
    deep = wrong % (b"[" * 2000 + b"]" * 2000)
    requests = [whole[: len(whole) // 2], whole, head % len(deep) + deep, b"GET /" + b"x" * 2**16]
    while time.monotonic() < until_s:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(chance.choice(requests))
            await writer.drain()
            await asyncio.sleep(RUDE_EVERY_S)
            writer.transport.abort()


async def killer(server_pid: int, until_s: float) -> int:
    """Kill a worker regularly; return how many were killed."""
    chance, killed = random.Random(0), 0
    while time.monotonic() < until_s:
        await asyncio.sleep(KILL_EVERY_S)
        with suppress(psutil.Error, IndexError):
            [fork_server] = psutil.Process(server_pid).children()
            chance.choice(fork_server.children()).kill()
            killed += 1
    return killed


def seen_of(server_pid: int) -> dict[str, float]:
    """Return resident MiB of server, fork server and largest worker, and numbers of files and
    processes."""
    server = psutil.Process(server_pid)
    found = {"server": server.memory_info().rss / 2**20, "open files": float(server.num_fds())}
    for fork_server in server.children():
        found["fork server"] = fork_server.memory_info().rss / 2**20
        workers = []
        for child in fork_server.children(recursive=True):
            with suppress(psutil.Error):  # it may just have been killed
                workers.append(child.memory_info().rss / 2**20)
        found["largest worker"] = max(workers, default=0.0)
        found["processes"] = 2.0 + len(workers)
    return found


async def watch(pid: int, seconds: float, tally: Tally) -> list[dict[str, float]]:
    """Print a line a minute, or ten in a short run; return the values."""
    step_s = min(60.0, seconds / 10)
    seen: list[dict[str, float]] = []
    began_s = time.monotonic()
    while time.monotonic() - began_s < seconds - step_s / 2:
        await asyncio.sleep(step_s)
        peaks: dict[str, float] = {}
        for _ in range(10):  # a worker may just have been replaced
            for name, much in seen_of(pid).items():
                peaks[name] = max(peaks.get(name, 0.0), much)
            await asyncio.sleep(0.02)
        seen.append(peaks)
        shown = ", ".join(f"{name} {much:.0f}" for name, much in peaks.items())
        print(
            f"{(time.monotonic() - began_s) / 60:5.1f} min: {tally.scored} scored, "
            f"{tally.lost} lost, errors {dict(tally.errors)}; {shown}",
            flush=True,
        )
    return seen


async def soak(live: LiveServer, minutes: float, hostile: Sequence[dict[str, Any]]) -> Any:
    assert live.process is not None
    tally = Tally()
    until_s = time.monotonic() + minutes * 60
    async with AsyncRemoteRewardClient(live.url, timeout_s=120, batch_size=BATCH) as client:
        pid = live.process.pid
        watching = asyncio.create_task(watch(pid, minutes * 60, tally))
        _, killed, *_ = await asyncio.gather(
            rude(live.port, until_s),
            killer(pid, until_s),
            *(caller(client, seed, hostile, until_s, tally) for seed in range(CALLERS)),
        )
        return tally, await watching, killed


def growth(seen: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return how much each value grew beyond its maximum during the warm-up.

    Memory is a share; files and processes are numbers; negative values mean a decrease. Workers are
    killed all the time, so the largest worker's size depends on its age.
    """
    warm = max(1, round(len(seen) * WARM_UP))
    begun, later = _most(seen[:warm]), _most(seen[warm:] or seen)
    return {
        name: later[name] - begun[name] if name in COUNTS else later[name] / begun[name] - 1
        for name in begun
    }


def _most(seen: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: max(peaks.get(name, 0.0) for peaks in seen) for name in seen[0]}


def main(argv: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description="A long run at full load.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--hostile", type=Path, default=HOSTILE, help="JSONL of hostile samples")
    given = parser.parse_args(list(argv))
    hostile = hostile_samples(given.hostile) if given.hostile.is_file() else []
    print(f"{given.minutes:g} minutes, {len(hostile)} kinds of hostile answers", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # A cache that fills up during the warm-up, which is not a leak.
        options = ("--log_level", "warning", "--worker_max_samples", "20000")
        options += ("--cache_bytes", str(2**23))
        live = live_server(Path(folder) / "log", *options).start()
        try:
            tally, seen, killed = asyncio.run(soak(live, given.minutes, hostile))
        finally:
            live.stop()
    grown = growth(seen)
    rows = [
        {
            "what": f"{name} after {given.minutes:g} min",
            "ours": round(much, 4),
            "unit": "more" if name in COUNTS else "of the most memory until the end of the warm-up",
            "most_seen": round(max(peaks.get(name, 0.0) for peaks in seen), 1),
        }
        for name, much in grown.items()
    ]
    about = {"scored": tally.scored, "lost": tally.lost, "workers_killed": killed}
    record("soak", rows, **about, errors=dict(tally.errors))
    flat = all(much <= COUNTS.get(name, FLAT) for name, much in grown.items())
    print(f"lost {tally.lost} of {tally.scored}; growth {grown}; {'flat' if flat else 'NOT FLAT'}")
    return 0 if flat and not tally.lost else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
