"""The cost of the gateway in front of a judge endpoint that takes 0.3 s per call.

Burst: seconds for 512 calls, 256 at a time. Contenders are ours and a FastAPI handler with httpx2,
each with one request over HTTP, and two bare asyncio clients that call the endpoint directly, one
with httpx2 and one that writes and reads bytes. Rounds in turn, medians; also the processor time of
a call in the server or the client, which other load affects less.

LiteLLM's proxy gets the calls one by one from the byte client, if GATEWAY_LITELLM names an
environment with `litellm[proxy]`.

Latency: single samples arrive staggered, so that 200 are in flight. Reported are the milliseconds
beyond those that the endpoint itself held the call, by its own clock, compared with direct calls.
Rounds in turn; the median over rounds of each round's median and p99.

Others: samples a second of the profile `format` while 256 calls of a judge hang, and without them.
The second in which the calls arrive is not measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import yaml

from benchmarks import ROOT, live_server, record
from benchmarks._gateway_peers import (
    CALL_S,
    HANGS,
    IN_FLIGHT,
    LITELLM_SETTINGS,
    litellm_command,
)
from benchmarks._load import post
from benchmarks.serving import load, request_bytes
from touchstone_rewards.reward_server.live_server import free_port, without_settings

CALLS, ROUNDS, STAGGERED, ARRIVALS, LATENCY_ROUNDS = 512, 5, 200, 1000, 5
OTHERS_S, OTHERS_ROUNDS, OTHERS_CONNECTIONS, OTHERS_SAMPLES = 1.0, 5, 4, 64
# Goals: at most this multiple of a bare client's time, and this many milliseconds more.
GOAL_BURST, GOAL_P99_MS = 1.2, 3.0
MESSAGE = {"role": "user", "content": "Does the answer agree with the reference? " * 8}
LITELLM, STRAIGHT = "LiteLLM's proxy", "straight to the endpoint"
TAKEN = b"GET /taken HTTP/1.1\r\n\r\n"
Contender = Callable[[], Awaitable[None]]
RequestOf = Callable[[int], bytes]


class Wire:
    """Kept-alive connections over which raw bytes are sent."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes) -> bytes:
        """Return the body of the answer to one request; skip kept connections that the server has
        closed."""
        while self.idle:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                return await self._over(*self.idle.pop(), request)
        return await self._over(
            *await asyncio.open_connection("127.0.0.1", self.port, limit=2**22), request
        )

    async def _over(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        self.idle.append((reader, writer))
        return body


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with peer("upstream") as (upstream, _):
            url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
            write_profiles(folder, upstream)
            options = ("--profiles_dir", str(folder / "profiles"), "--cache_bytes", "0")
            ours = live_server(folder / "log", *options, "--log_level", "error").start()
            assert ours.process is not None
            with peer("fastapi", url) as (fastapi, fastapi_pid), litellm(folder, upstream) as proxy:
                pids = {"ours": ours.process.pid, "FastAPI and httpx2": fastapi_pid}
                pids |= {LITELLM: proxy[1]} if proxy else {}
                proxied = proxy[0] if proxy else None
                rows = asyncio.run(bursts(ours.port, fastapi, upstream, url, pids, proxied))
                rows += asyncio.run(latencies(ours.port, fastapi, upstream, proxied))
            rows += asyncio.run(others(ours.port))
            ours.kill()
    for each in rows:
        print(each["what"], *(f"{key} {value}" for key, value in each.items() if key != "what"))
    record("gateway", rows, load_average=os.getloadavg()[0])


def write_profiles(folder: Path, port: int) -> None:
    (folder / "profiles").mkdir()
    for name in ("judged", HANGS):
        judge = {"url": f"http://127.0.0.1:{port}/v1", "model": name, "max_in_flight": IN_FLIGHT}
        entry = {"deadline_s": 60, "config": judge}
        text = yaml.safe_dump({"scorers": {"judge": entry}})
        (folder / "profiles" / f"{name}.yaml").write_text(text)


def peer(name: str, *words: str) -> AbstractContextManager[tuple[int, int]]:
    """Start one of the peers in a separate process; yield its port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks._gateway_peers", name, str(port), *words]
    return serving(command, port)


@contextmanager
def litellm(folder: Path, upstream: int) -> Iterator[tuple[int, int] | None]:
    """Yield port and process id of LiteLLM's proxy; None, with a message, without an
    environment."""
    environment = Path(os.environ.get("GATEWAY_LITELLM", ""))
    if not (environment / "bin" / "litellm").is_file():
        print("LiteLLM's proxy is left out: GATEWAY_LITELLM names no environment with it")
        yield None
        return
    port = free_port()
    command = litellm_command(environment, folder, port, upstream)
    with (
        (folder / "litellm.log").open("wb") as log,
        serving(command, port, LITELLM_SETTINGS, log) as proxy,
    ):
        yield proxy


@contextmanager
def serving(
    command: list[str], port: int, settings: Mapping[str, str] | None = None, log: Any = None
) -> Iterator[tuple[int, int]]:
    """Start a process, yield its port and id, and stop it afterwards."""
    env = without_settings() | dict(settings or {})
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        while True:
            assert process.poll() is None, f"{command[0]} ended"
            try:
                httpx2.post(f"http://127.0.0.1:{port}/score", json={"model": "m", "samples": []})
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def asked(count: int, profile: str = "judged", first: int = 0) -> bytes:
    """Return a request to judge this many different samples."""
    samples = [
        {"id": str(at), "response": f"It is {at}.", "prompt": "How many?", "ground_truth": "46"}
        for at in range(first, first + count)
    ]
    return post("/score", {"profile": profile, "samples": samples})


async def bursts(
    ours: int,
    fastapi: int,
    upstream: int,
    url: str,
    pids: dict[str, int],
    proxied: int | None,
) -> list[dict[str, Any]]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    wires = {port: Wire(port) for port in (ours, fastapi, upstream, proxied) if port}
    call = {"model": "m", "messages": [MESSAGE]}
    raw = post("/v1/chat/completions", call)

    async def one_request(port: int) -> None:
        results = json.loads(await wires[port].send(asked(CALLS)))["results"]
        assert [each["reward"] for each in results] == [1.0] * CALLS

    async with httpx2.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:

        async def by_httpx2() -> None:
            assert (await client.post(url, json=call)).json()["model"] == "m"

        async def by_bytes(port: int = upstream) -> None:
            assert json.loads(await wires[port].send(raw))["model"] == "m"

        contenders: dict[str, Contender] = {
            "ours": lambda: one_request(ours),
            "FastAPI and httpx2": lambda: one_request(fastapi),
            "bare httpx2 client": lambda: at_a_time(by_httpx2),
            "bare bytes": lambda: at_a_time(by_bytes),
        }
        if proxied:
            contenders[LITELLM] = lambda: at_a_time(lambda: by_bytes(proxied))
        found = await in_turn(contenders, pids)
    seconds, cpu_us = (
        {name: statistics.median(each[part] for each in found[name]) for name in found}
        for part in (0, 1)
    )
    return [
        {
            "what": f"seconds for {CALLS} calls, {IN_FLIGHT} at a time",
            "peer_name": name,
            "ours": round(seconds["ours"], 3),
            "peer": round(seconds[name], 3),
            "ratio": round(seconds["ours"] / seconds[name], 2),
            "goal": GOAL_BURST if name.startswith("bare") else None,
            "floor": round(CALL_S * CALLS / IN_FLIGHT, 2),
            "ours_cpu_us": round(cpu_us["ours"]),
            "peer_cpu_us": round(cpu_us[name]),
        }
        for name in seconds
        if name != "ours"
    ]


async def in_turn(
    contenders: dict[str, Contender], pids: dict[str, int]
) -> dict[str, list[tuple[float, float]]]:
    """Return for each contender and round the seconds, and the processor microseconds of a call."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for at in range(ROUNDS + 1):
        for name, contender in contenders.items():
            process = psutil.Process(pids.get(name))
            began_s, began_cpu = time.perf_counter(), process.cpu_times()
            await contender()
            took_s, cpu = time.perf_counter() - began_s, process.cpu_times()
            cpu_s = cpu.user + cpu.system - began_cpu.user - began_cpu.system
            if at:  # the first round opens the connections
                found[name].append((took_s, cpu_s / CALLS * 1e6))
    return found


async def at_a_time(call: Callable[[], Awaitable[None]]) -> None:
    """Make all calls, at most IN_FLIGHT at a time."""
    turns = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with turns:
            await call()

    await asyncio.gather(*(one() for _ in range(CALLS)))


async def latencies(
    ours: int, fastapi: int, upstream: int, proxied: int | None
) -> list[dict[str, Any]]:
    def straight(at: int) -> bytes:
        message = MESSAGE | {"content": f"It is {at}. {MESSAGE['content']}"}
        return post("/v1/chat/completions", {"model": "m", "messages": [message]})

    def through(at: int) -> bytes:
        return asked(1, first=at)

    contenders = {
        "ours": (Wire(ours), through),
        STRAIGHT: (Wire(upstream), straight),
        "FastAPI and httpx2": (Wire(fastapi), through),
    }
    if proxied:
        contenders[LITELLM] = (Wire(proxied), straight)
    found = await staggered(contenders, Wire(upstream))
    rows: list[dict[str, Any]] = []
    for part, place in (("median", 49), ("p99", 98)):
        ms = {
            name: statistics.median(statistics.quantiles(each, n=100)[place] for each in rounds)
            for name, rounds in found.items()
        }
        rows += [
            {
                "what": f"ms beyond the endpoint's, {STAGGERED} in flight, {part}",
                "peer_name": name,
                "ours": round(ms["ours"], 2),
                "peer": round(ms[name], 2),
                "goal": GOAL_P99_MS if name == STRAIGHT and part == "p99" else None,
            }
            for name in ms
            if name != "ours"
        ]
    return rows


async def staggered(
    contenders: Mapping[str, tuple[Wire, RequestOf]], endpoint: Wire
) -> dict[str, list[list[float]]]:
    """Return for each contender and round the milliseconds of each call beyond the endpoint's own.

    Warm-up calls open the connections first.
    """
    gc.collect()
    gc.freeze()  # keep the garbage collector from scanning leftovers while calls are timed
    for wire, request in contenders.values():
        await arriving(wire, request, 2 * STAGGERED)
    found: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for _ in range(LATENCY_ROUNDS):
        for name, (wire, request) in contenders.items():
            await endpoint.send(TAKEN)
            seconds = await arriving(wire, request, ARRIVALS)
            taken_s = {int(at): s for at, s in json.loads(await endpoint.send(TAKEN)).items()}
            beyond_ms = [(s - taken_s[at]) * 1e3 for at, s in enumerate(seconds)]
            found[name].append(beyond_ms[STAGGERED:])  # before these, fewer calls are in flight
    return found


async def arriving(wire: Wire, request: RequestOf, count: int) -> list[float]:
    """Send this many calls at regular intervals; return the seconds that each took."""
    between_s = CALL_S / STAGGERED
    began_s = time.perf_counter()

    async def one(at: int) -> float:
        await asyncio.sleep(max(0.0, began_s + at * between_s - time.perf_counter()))
        sent_s = time.perf_counter()
        await wire.send(request(at))
        return time.perf_counter() - sent_s

    return await asyncio.gather(*(one(at) for at in range(count)))


async def others(port: int) -> list[dict[str, Any]]:
    """Measure the speed of another profile while an endpoint hangs, and while none does."""
    about = request_bytes(OTHERS_SAMPLES), OTHERS_CONNECTIONS, OTHERS_S
    found: dict[bool, list[int]] = {False: [], True: []}
    for _ in range(OTHERS_ROUNDS):
        for hangs in found:
            wire = Wire(port)
            calls = [
                asyncio.create_task(wire.send(asked(1, HANGS, at)))
                for at in range(IN_FLIGHT if hangs else 0)
            ]
            await load(port, *about)
            found[hangs].append(await load(port, *about))
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    with_it, without = (
        statistics.median(found[hangs]) * OTHERS_SAMPLES / OTHERS_S for hangs in (True, False)
    )
    what = f"samples/s of another profile while {IN_FLIGHT} calls hang"
    figures = {"ours": round(with_it), "peer": round(without)}
    ratio = round(with_it / without, 2)
    return [{"what": what, "peer_name": "without them", **figures, "ratio": ratio}]


if __name__ == "__main__":
    main()
