"""Measure a server under hostile callers: seconds, memory and `/health` under each attack.

Each attack meets a fresh server with default settings. A separate process polls `/health`, and the
server's memory is sampled every 20 ms.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import ROOT, older_server, record
from touchstone_rewards.reward_server.live_server import LiveServer

HEALTH_P99_MS, MEMORY_MIB = 50.0, 600.0
# Fairness limit: a request beside an abuser may take at most this many times its usual time.
FAIR = 3.0
WAIT_S = 60.0
ASK_EVERY_MS = 5.0
PROFILES = {
    "sleeper": "scorers: {x: {scorer: 'tests.hostile.scorers:Sleeper'}}\n",
    "inline": "scorers: {x: {scorer: 'tests.hostile.scorers:InlineSleeper'}}\n",
}
KEYS = "api_keys: [{name: abuser, key: abuser}, {name: victim, key: victim}]\n"

Attack = Callable[[int], Awaitable[Any]]


def post(body: bytes, *headers: str, path: str = "/score", key: str = "abuser") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"x-api-key: {key}", *headers]
    return ("\r\n".join([*lines, f"content-length: {len(body)}", "", ""])).encode() + body


async def ask(port: int, request: bytes) -> bytes:
    """Return the status line of the answer, or the error that ended the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    try:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await asyncio.wait_for(reader.readexactly(length), WAIT_S)
        return head.split(b"\r\n")[0]
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
        return type(error).__name__.encode()
    finally:
        writer.close()


def body_of(samples: list[dict[str, Any]], profile: str = "math") -> bytes:
    return json.dumps({"profile": profile, "samples": samples}).encode()


async def objects_in_metadata(port: int) -> bytes:
    """Send 65 kB of gzip that expand to 64 MiB of `[],[]`, three times at once."""
    text = b'{"profile": "format", "samples": [{"id": "a", "response": "x", "metadata": {"a": ['
    text += b"[]," * ((64 * 2**20 - len(text) - 16) // 3) + b"[]]}}]}"
    packed = post(gzip.compress(text), "content-encoding: gzip")
    return b", ".join(set(await asyncio.gather(*(ask(port, packed) for _ in range(3)))))


async def endless_headers(port: int) -> bytes:
    """Send 500 MiB of headers on one connection without a key."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /score HTTP/1.1\r\n")
    line = b"x: " + b"y" * 65_000 + b"\r\n"
    try:
        for _ in range(500 * 16):
            writer.write(line)
            await writer.drain()
        writer.write(b"\r\n")
        return (await asyncio.wait_for(reader.read(100), 5)).split(b"\r\n")[0] or b"closed"
    except (ConnectionError, TimeoutError) as error:
        return type(error).__name__.encode()
    finally:
        writer.close()


async def unread_answers(port: int) -> bytes:
    """Open 30 connections and leave their answers of 60 MB unread."""
    samples = [{"id": "i" * 15_000, "response": ""} for _ in range(4000)]
    request = post(body_of(samples, "format"))

    async def one() -> asyncio.StreamWriter | None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        try:
            writer.write(request)
            await asyncio.wait_for(writer.drain(), 20)
        except (ConnectionError, TimeoutError):
            pass
        return writer

    writers = await asyncio.gather(*(one() for _ in range(30)))
    await asyncio.sleep(5)
    for writer in writers:
        if writer is not None:
            writer.transport.abort()
    return b"30 connections held for 5 s"


async def deep_metadata(port: int) -> bytes:
    """Send metadata nested 979 deep, which the dashboard cannot encode."""
    body = b'{"samples": [{"id": "a", "response": "x", "metadata": {"a": %s}}]}'
    return await ask(port, post(body % (b"[" * 979 + b"]" * 979)))


async def long_history(port: int) -> bytes:
    """Send 35 MB of history to a rule in the event loop."""
    history = [{"role": "user", "content": "one two three " * 250} for _ in range(10_000)]
    sample = {"id": "a", "response": "0", "metadata": {"history": history}}
    return await ask(port, post(body_of([sample], "inline")))


async def slow_inline(port: int) -> bytes:
    """Send ten samples that each take 0.3 s in the event loop."""
    samples = [{"id": str(at), "response": "0.3"} for at in range(10)]
    return await ask(port, post(body_of(samples, "inline")))


async def large_ids(port: int) -> bytes:
    """Send an id of 5 MB on a sample that exceeds its deadline, to test the log."""
    return await ask(port, post(body_of([{"id": "i" * 5_000_000, "response": "6"}], "sleeper")))


ATTACKS: dict[str, Attack] = {
    "64 MiB of [],[] in metadata, three at once": objects_in_metadata,
    "500 MiB of headers without a key": endless_headers,
    "30 answers of 60 MB unread": unread_answers,
    "metadata 979 deep": deep_metadata,
    "35 MB of history": long_history,
    "slow inline scorer": slow_inline,
    "id of 5 MB": large_ids,
}


async def attacked(live: LiveServer, attack: Attack) -> dict[str, Any]:
    """Run one attack and measure the server meanwhile."""
    assert live.process is not None
    server = psutil.Process(live.process.pid)
    peak_bytes = 0

    async def watch() -> None:
        nonlocal peak_bytes
        while True:
            peak_bytes = max(peak_bytes, server.memory_info().rss)
            await asyncio.sleep(0.02)

    watcher = asyncio.create_task(watch())
    health = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks._health", str(live.port), stdout=asyncio.subprocess.PIPE
    )
    await asyncio.sleep(1.0)
    began_s = time.perf_counter()
    said = await attack(live.port)
    seconds = time.perf_counter() - began_s
    await asyncio.sleep(1.0)
    health.terminate()
    assert health.stdout is not None
    health_ms = [float(line) for line in (await health.stdout.read()).split()]
    watcher.cancel()
    return {
        "seconds": round(seconds, 2),
        "memory_mib": round(peak_bytes / 2**20),
        "health_p99_ms": round(p99(health_ms), 1),
        "health_worst_ms": round(max(health_ms), 1),
        "answered": said.decode("latin-1")[:80],
    }


def p99(health_ms: Sequence[float]) -> float:
    """Return the 99th percentile as seen by a caller that asks every 5 ms without waiting.

    The prober waits for each answer, so it asks rarely while the server is stuck.
    """
    asked = [late for each in health_ms for late in _askers(each)]
    return statistics.quantiles(asked, n=100)[98]


def _askers(answer_ms: float) -> Iterator[float]:
    yield answer_ms
    while (answer_ms := answer_ms - ASK_EVERY_MS) > 0:
        yield answer_ms


async def fairness(port: int) -> dict[str, Any]:
    """Time 256 trivial samples of one key, alone and beside another key's slow samples."""
    rounds = itertools.count()

    async def timed() -> float:
        first = 256 * next(rounds)  # new samples each time, so that no cache helps
        numbers = range(first, first + 256)
        trivial = [
            {"id": str(at), "response": f"#### {at}", "ground_truth": str(at)} for at in numbers
        ]
        request = post(body_of(trivial), key="victim")
        began_s = time.perf_counter()
        assert b"200" in await ask(port, request)
        return time.perf_counter() - began_s

    calm = statistics.median([await timed() for _ in range(9)])
    slow = post(body_of([{"id": str(at), "response": "4"} for at in range(12)], "sleeper"))
    abuse = [asyncio.create_task(ask(port, slow)) for _ in range(3)]
    await asyncio.sleep(1.0)
    # Take the longest: once the abuse is over, requests are fast again.
    beside = max([await timed() for _ in range(9)])
    for task in abuse:
        task.cancel()
    await asyncio.gather(*abuse, return_exceptions=True)
    return {"calm_s": round(calm, 4), "beside_s": round(beside, 4)}


def start(folder: Path, checkout: Path | None) -> LiveServer:
    """Start a server with two keys, default settings, and the profiles that the attacks need.

    `checkout` names an older checkout whose server to start instead.
    """
    profiles = folder / "profiles"
    profiles.mkdir(exist_ok=True)
    for name, text in PROFILES.items():
        (profiles / f"{name}.yaml").write_text(text)
    (folder / "server.yaml").write_text(KEYS)
    options = ["--config", str(folder / "server.yaml"), "--profiles_dir", str(profiles)]
    return older_server(checkout or ROOT, folder / "log", *options).start()


def rows(checkout: Path | None = None) -> list[dict[str, Any]]:
    """Run each attack against a fresh server, then the fairness test; return one row each."""
    found: list[dict[str, Any]] = []
    for name, attack in ATTACKS.items():
        with tempfile.TemporaryDirectory() as folder:
            live = start(Path(folder), checkout)
            row = {"attack": name, **asyncio.run(attacked(live, attack))}
            live.kill()
            row["log_bytes"] = live.log.stat().st_size
        row["kept"] = row["health_p99_ms"] <= HEALTH_P99_MS and row["memory_mib"] <= MEMORY_MIB
        found.append(row)
        print(row, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        live = start(Path(folder), checkout)
        row = {"attack": "256 trivial samples beside slow ones", **asyncio.run(fairness(live.port))}
        live.kill()
    found.append({**row, "kept": row["beside_s"] <= FAIR * row["calm_s"]})
    print(found[-1], file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Attack this server, and that of `HOSTILE_BEFORE`, an older checkout."""
    older = os.environ.get("HOSTILE_BEFORE")
    before = rows(Path(older)) if older else []
    record("hostile_wire", rows(), before=before)


if __name__ == "__main__":
    main()
