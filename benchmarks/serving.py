"""HTTP under load: our server against peers on one core, and thousands of calls in flight at once.

Throughput: ours against idiomatic FastAPI (pydantic in, response_model out), and against bare ASGI
that only decodes and encodes the same JSON. All three use the rule of the profile `format`, the
cheapest scorer, since HTTP is compared. Each server is pinned to the first core and gets bodies of
2 KB a sample over raw connections from another process; rounds interleaved, medians. The server's
processor time is reported too, since other load affects it less. `SERVING_BEFORE`, an older
checkout, adds its server as a peer.

Processes: one server with two processes, against two servers with one process and half of the load
each; this shows the cost of being one server. The load per process must be equal, since a request
costs less the more requests are read together. Wall-clock figures need spare cores.

Math: real solutions for the worker scorer `math`, alone in their requests and among 64, with many
requests in flight: the cost of a sample in the server and its worker together.

Flood: 2,000 and 4,000 calls of one math sample, as OpenRLHF sends them, all at once, against a
server that accepts some and rejects the rest with 429; each caller retries after Retry-After.
Meanwhile a separate process polls `/health`.

With `BENCH_AHEAD=1`, for a machine with other work, each round runs at real-time priority and is
followed by a pause of the same length.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psutil

from benchmarks import ROOT, live_server, older_server, processor_s, record
from benchmarks._load import AHEAD, ahead_of_others, load_of, post
from benchmarks.capacity import SOLUTIONS, samples
from touchstone_rewards.reward_server.live_server import (
    LiveServer,
    free_port,
    without_settings,
)

# Short rounds: other load on the machine lasts seconds and then affects all contenders alike.
ROUNDS, ROUND_S = 11, 0.4
SHAPES = {1: 16, 64: 8, 512: 4}  # samples per request -> connections
RESPONSE_BYTES, PROMPT_BYTES = 2048, 300
RESPONSE, PROMPT = f"\\boxed{{7}} {'x' * RESPONSE_BYTES}", "p" * PROMPT_BYTES
GOALS = {1: 2.2, 64: 2.0, 512: 2.4}
# Math: samples in a request -> connections, requests of a round; a sample alone may cost so many
# Math: samples per request -> connections, requests per round; the largest cost of a sample alone,
# relative to one among 64.
MATH_SHAPES, MATH_ROUNDS, MATH_GOAL = {1: (64, 2048), 64: (4, 64)}, 15, 2.0
# Processes: samples per request -> connections, requests per round.
PROCESS_SHAPES, PROCESS_ROUNDS, PROCESS_GOAL = {1: (64, 12_000), 64: (8, 800)}, 9, 1.1
FLOODS = (2000, 4000)
OPTIONS = ("--log_level", "warning", "--workers", "1")


@dataclass
class Peer:
    name: str
    port: int
    pid: int


@dataclass
class Rate:
    """Wall-clock samples per second, and the server's processor microseconds per sample."""

    samples_per_s: float
    cpu_us: float


class Cost(NamedTuple):
    """Processor microseconds per sample, of the server's process and of its workers."""

    server_us: float
    worker_us: float


@contextmanager
def ours(folder: Path, *options: str) -> Iterator[Peer]:
    server = live_server(folder / "log", *OPTIONS, *options).start()
    assert server.process is not None
    pin(server.process.pid)
    yield Peer("ours", server.port, server.process.pid)
    server.kill()


@contextmanager
def before(folder: Path, checkout: Path) -> Iterator[Peer]:
    server = older_server(checkout, folder / "before", *OPTIONS).start()
    assert server.process is not None
    pin(server.process.pid)
    yield Peer("before", server.port, server.process.pid)
    server.kill()


@contextmanager
def peer(name: str) -> Iterator[Peer]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks._serving_peers", name, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=without_settings())
    while True:
        try:
            httpx2.post(f"http://127.0.0.1:{port}/score", json={"profile": "format", "samples": []})
            break
        except httpx2.TransportError:
            time.sleep(0.05)
    pin(process.pid)
    yield Peer(name, port, process.pid)
    process.kill()
    process.wait()


def pin(pid: int) -> None:
    """Pin the server to the first core, and this process, which makes the load, to the others."""
    os.sched_setaffinity(pid, {0})
    if others := set(range(os.cpu_count() or 1)) - {0}:
        os.sched_setaffinity(0, others)


def request_bytes(count: int, profile: str = "format") -> bytes:
    same = {"prompt": PROMPT, "response": RESPONSE, "ground_truth": "7"}
    samples = [{"id": f"q{i}", **same} for i in range(count)]
    return post("/score", {"profile": profile, "samples": samples})


def openrlhf_bytes() -> bytes:
    """Return one call of OpenRLHF's `remote_rm_url`: one sample, with the prompt repeated in the
    query."""
    asked = {"query": [PROMPT + RESPONSE], "prompts": [PROMPT], "labels": ["7"]}
    return post("/compat/openrlhf/get_reward?profile=math", asked)


async def load(port: int, request: bytes, connections: int, seconds: float) -> int:
    """Send the request for this many seconds, one at a time per connection; return how many were
    answered."""
    until_s = time.perf_counter() + seconds

    def requests() -> Iterator[bytes]:
        while time.perf_counter() < until_s:
            yield request

    return await load_of(port, requests(), connections)


def rate(server: Peer, count: int) -> Rate:
    with ahead_of_others(server.pid):
        before, began_s = processor_s(server.pid), time.perf_counter()
        answered = asyncio.run(load(server.port, request_bytes(count), SHAPES[count], ROUND_S))
        ended_s = time.perf_counter()
    seconds, cpu_s = ended_s - began_s, processor_s(server.pid) - before
    return Rate(answered * count / seconds, cpu_s / (answered * count) * 1e6)


def throughput(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(ours(folder))]
        servers += [stack.enter_context(peer(name)) for name in ("fastapi", "bare")]
        if older := os.environ.get("SERVING_BEFORE"):
            servers.append(stack.enter_context(before(folder, Path(older))))
        for count in SHAPES:
            found: dict[str, list[Rate]] = {server.name: [] for server in servers}
            for _ in range(ROUNDS):
                for server in servers:
                    found[server.name].append(rate(server, count))
            rows += compared(count, found)
    return rows


def compared(count: int, found: dict[str, list[Rate]]) -> list[dict[str, Any]]:
    clock = {n: statistics.median(r.samples_per_s for r in rates) for n, rates in found.items()}
    cpu = {n: statistics.median(r.cpu_us for r in rates) for n, rates in found.items()}
    return [
        {
            "what": f"samples/s at {count} a request",
            "ours": round(clock["ours"]),
            "peer": round(clock[name]),
            "peer_name": name,
            "ratio": round(clock["ours"] / clock[name], 2),
            "goal": _goal(name, count),
            "ours_cpu_us": round(cpu["ours"], 2),
            "peer_cpu_us": round(cpu[name], 2),
            "cpu_ratio": round(cpu[name] / cpu["ours"], 2),
            "cpu_ratio_spread": spread_of_ratios(found[name], found["ours"]),
        }
        for name in found
        if name != "ours"
    ]


def _goal(name: str, count: int) -> float | None:
    if name == "bare":
        return 0.7 if count > 1 else 0.6
    return GOALS.get(count) if name == "fastapi" else None


def spread_of_ratios(peers: Sequence[Rate], ours: Sequence[Rate]) -> list[float]:
    """Return the quartiles of the ratio of processor times, round by round."""
    ratios = [one.cpu_us / two.cpu_us for one, two in zip(peers, ours, strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return [round(lower, 2), round(upper, 2)]


def math_cost(server: Peer, count: int, source: Iterator[Any]) -> Cost:
    """Return what a math sample costs in requests of `count`."""
    connections, requests = MATH_SHAPES[count]
    workers = [each.pid for each in psutil.Process(server.pid).children(recursive=True)]
    bodies = [
        post("/score", {"profile": "math", "samples": list(islice(source, count))})
        for _ in range(requests)
    ]

    def used() -> tuple[float, float]:
        return processor_s(server.pid), sum(map(processor_s, workers))

    with ahead_of_others(server.pid, *workers):
        before = used()
        asyncio.run(load_of(server.port, iter(bodies), connections))
        spent = zip(before, used(), strict=True)
    return Cost(*((late - early) / (requests * count) * 1e6 for early, late in spent))


def one_and_many(folder: Path) -> Iterator[dict[str, Any]]:
    """Measure a math sample alone in its request, and among 64."""
    if not SOLUTIONS.is_file():
        print(f"{SOLUTIONS.name} not found: math is not measured")
        return
    found: dict[int, list[Cost]] = {count: [] for count in MATH_SHAPES}
    source = samples()
    with ours(folder, "--cache_bytes", "0") as server:  # the solutions repeat
        for _ in range(MATH_ROUNDS + 1):
            for count in MATH_SHAPES:
                found[count].append(math_cost(server, count, source))
    alone, among = (found[count][1:] for count in MATH_SHAPES)
    ratios = [sum(one) / sum(other) for one, other in zip(alone, among, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    yield {
        "what": "math: µs of processor a sample, alone in its request",
        "ours": round(statistics.median(map(sum, alone)), 1),
        "peer": round(statistics.median(map(sum, among)), 1),
        "peer_name": "ours, 64 a request",
        "ratio": round(middle, 2),
        "ratio_spread": [round(lower, 2), round(upper, 2)],
        "goal": MATH_GOAL,
        "ours_server_us": round(statistics.median(each.server_us for each in alone), 1),
        "peer_server_us": round(statistics.median(each.server_us for each in among), 1),
    }


def two_processes(folder: Path) -> Iterator[dict[str, Any]]:
    """Measure the cost of a sample for two processes of one server, and for two servers."""
    options = "--log_level", "warning"
    one = live_server(folder / "one", *options, "--processes", "2", "--workers", "2").start()
    others = [live_server(folder / f"apart{n}", *options, "--workers", "1") for n in range(2)]
    sides = {"ours": [one], "peer": [each.start() for each in others]}
    for count, (connections, requests) in PROCESS_SHAPES.items():
        found: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(PROCESS_ROUNDS):
            for side, servers in sides.items():
                found[side].append(split_cpu_us(servers, count, connections, requests))
        cost = {side: statistics.median(each) for side, each in found.items()}
        ratios = [a / b for a, b in zip(found["ours"], found["peer"], strict=True)]
        lower, middle, upper = statistics.quantiles(ratios, n=4)
        yield {
            "what": f"--processes 2: µs of processor a sample at {count} a request",
            "ours": round(cost["ours"], 2),
            "peer": round(cost["peer"], 2),
            "peer_name": "two servers of one process, half of the load each",
            "ratio": round(middle, 2),
            "ratio_spread": [round(lower, 2), round(upper, 2)],
            "goal": PROCESS_GOAL,
        }
    for server in [one, *others]:
        server.stop()


def split_cpu_us(servers: Sequence[LiveServer], count: int, connections: int, each: int) -> float:
    """Return processor microseconds per sample, with the load split evenly over these servers."""
    roots = [psutil.Process(server.process.pid) for server in servers if server.process]
    serving = [each.pid for root in roots for each in [root, *root.children()]]
    share = len(servers)

    def used() -> float:
        return sum(map(processor_s, serving))

    async def all_of_them() -> None:
        body = request_bytes(count)
        loads = [
            load_of(server.port, repeat(body, each // share), connections // share)
            for server in servers
        ]
        await asyncio.gather(*loads)

    with ahead_of_others(*serving):
        before = used()
        asyncio.run(all_of_them())
        spent = used() - before
    return spent / (each * count) * 1e6


async def flood(port: int, calls: int) -> dict[str, Any]:
    """Make all calls at once; rejected ones retry."""
    request, shed = openrlhf_bytes(), 0
    began_s = time.perf_counter()

    async def call() -> bool:
        nonlocal shed
        for _ in range(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            writer.close()
            if head.startswith(b"http/1.1 200"):
                return json.loads(body)["rewards"] == [1.0]
            assert head.startswith(b"http/1.1 429"), head
            shed += 1
            await asyncio.sleep(float(head.split(b"retry-after: ")[1].split(b"\r\n")[0]))
        return False

    watcher = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks._health", str(port), stdout=asyncio.subprocess.PIPE
    )
    if AHEAD:  # before the calls, which share its priority and take long turns
        os.sched_setscheduler(watcher.pid, os.SCHED_RR, os.sched_param(2))
    await asyncio.sleep(1.0)
    answers = await asyncio.gather(*(call() for _ in range(calls)), return_exceptions=True)
    seconds = time.perf_counter() - began_s - 1.0
    watcher.terminate()
    assert watcher.stdout is not None
    health_ms = [float(line) for line in (await watcher.stdout.read()).split()]
    lost = [answer for answer in answers if answer is not True]
    quantiles = statistics.quantiles(health_ms, n=100)
    return {
        "what": f"{calls} calls of one sample in flight",
        "ours": round(seconds, 2),
        "unit": "s until all are answered",
        "lost": len(lost),
        "shed_then_answered": shed,
        "health_p50_ms": round(quantiles[49], 1),
        "health_p99_ms": round(quantiles[98], 1),
        "health_asked": len(health_ms),
    }


def raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    raise_file_limit()
    with tempfile.TemporaryDirectory() as folder:
        rows = [*throughput(Path(folder)), *one_and_many(Path(folder))]
        rows += two_processes(Path(folder))
        with ours(Path(folder), "--max_pending_samples", "200", "--cache_bytes", "0") as server:
            below = psutil.Process(server.pid).children(recursive=True)
            for calls in FLOODS:
                with ahead_of_others(server.pid, *(each.pid for each in below)):
                    rows.append(asyncio.run(flood(server.port, calls)))
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    record("serving", rows, response_bytes=RESPONSE_BYTES, rounds=ROUNDS, real_time=AHEAD)


if __name__ == "__main__":
    main()
