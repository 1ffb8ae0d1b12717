"""Our asyncio client against plain `httpx2.AsyncClient`, on the same server (profile dummy) in one
run.

The peers are naive code: one post per sample, all gathered, with default limits (but without
httpx2's default timeout of 5 s, in which 20,000 posts fail); and the same behind a semaphore of 32.
Samples have 2 KB; all contenders run in turn, medians, about five minutes. The floor posts bodies
encoded in advance, 256 samples each, 8 at a time: every client must at least send the bytes.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import live_server, record
from touchstone_rewards.clients import AsyncRemoteRewardClient, Sample, protocol

SMALL, LARGE, TEXT_BYTES = 2_000, 20_000, 2_048
SMALL_ROUNDS, LARGE_ROUNDS = 9, 3
BATCH, IN_FLIGHT = 256, 8

Contender = Callable[[], Coroutine[Any, Any, int]]


def make_samples(count: int) -> list[Sample]:
    return [Sample(str(i), f"{i} ".ljust(TEXT_BYTES, "x")) for i in range(count)]


async def call_each(
    url: str, samples: list[Sample], batch_size: int = BATCH, max_in_flight: int = IN_FLIGHT
) -> int:
    """Ours: one call per sample, all gathered."""
    async with AsyncRemoteRewardClient(
        url, timeout_s=600, batch_size=batch_size, max_in_flight=max_in_flight
    ) as client:
        found = await asyncio.gather(*(client.score([sample], "dummy") for sample in samples))
    return sum(results[0].reward is not None for results in found)


async def call_once(url: str, samples: list[Sample]) -> int:
    """Ours: one call for all samples."""
    async with AsyncRemoteRewardClient(url, timeout_s=600) as client:
        return sum(each.reward is not None for each in await client.score(samples, "dummy"))


async def post_each(url: str, samples: list[Sample], at_once: int | None = None) -> int:
    """The peers: one post per sample, all gathered, at most `at_once` in flight."""
    places = asyncio.Semaphore(at_once or len(samples))
    async with httpx2.AsyncClient(timeout=None) as client:

        async def post(sample: Sample) -> float:
            one = {"id": sample.id, "response": sample.response}
            async with places:
                answer = await client.post(
                    f"{url}/score", json={"profile": "dummy", "samples": [one]}
                )
            return answer.json()["results"][0]["reward"]

        return len(await asyncio.gather(*(post(sample) for sample in samples)))


async def post_encoded(url: str, bodies: list[bytes], count: int) -> int:
    """The floor: send encoded bodies."""
    places = asyncio.Semaphore(IN_FLIGHT)
    async with httpx2.AsyncClient(timeout=None) as client:

        async def post(body: bytes) -> None:
            async with places:
                (await client.post(f"{url}/score", content=body)).raise_for_status()

        await asyncio.gather(*map(post, bodies))
    return count


def encoded_bodies(samples: list[Sample]) -> list[bytes]:
    encoded = protocol.encode(samples)
    parts = [encoded[i : i + BATCH] for i in range(0, len(encoded), BATCH)]
    return [protocol.build(part, "dummy", "train", False, 600.0) for part in parts]


def measure(contenders: dict[str, Contender], count: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of each contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began_s = time.perf_counter()
            assert asyncio.run(contender()) == count, name
            times[name].append(time.perf_counter() - began_s)
    return {name: statistics.median(each) for name, each in times.items()}


def compare(url: str) -> list[dict[str, Any]]:
    small, large = make_samples(SMALL), make_samples(LARGE)
    small_bodies, large_bodies = encoded_bodies(small), encoded_bodies(large)
    calls = measure(
        {
            "ours": lambda: call_each(url, small),
            "ours, nothing shared": lambda: call_each(url, small, batch_size=1, max_in_flight=32),
            "httpx2, gathered": lambda: post_each(url, small),
            "httpx2, semaphore of 32": lambda: post_each(url, small, 32),
            "floor": lambda: post_encoded(url, small_bodies, SMALL),
        },
        SMALL,
        SMALL_ROUNDS,
    )
    once = measure(
        {
            "ours": lambda: call_once(url, large),
            "httpx2, gathered": lambda: post_each(url, large),
            "httpx2, semaphore of 32": lambda: post_each(url, large, 32),
            "floor": lambda: post_encoded(url, large_bodies, LARGE),
        },
        LARGE,
        LARGE_ROUNDS,
    )
    return [*rows(f"{SMALL} calls of one sample", calls), *rows(f"{LARGE} samples, one call", once)]


def rows(what: str, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row for each contender that is a peer, or ours with other settings."""
    return [
        {
            "what": f"{what}, s",
            "ours": round(seconds["ours"], 3),
            "peer": round(peer_s, 3),
            "peer_name": name,
            "ratio": round(peer_s / seconds["ours"], 1),
            "floor": round(seconds["floor"], 3),
        }
        for name, peer_s in seconds.items()
        if name not in ("ours", "floor")
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = live_server(Path(folder) / "log").start()
        try:
            found = compare(server.url)
        finally:
            server.stop()
    print(f"{'':34}{'ours s':>8}{'peer s':>9}{'ratio':>7}{'floor s':>9}  peer")
    for row in found:
        print(
            f"{row['what']:34}{row['ours']:8.3f}{row['peer']:9.3f}{row['ratio']:6.1f}x"
            f"{row['floor']:9.3f}  {row['peer_name']}"
        )
    record("client", found, sample_bytes=TEXT_BYTES, rounds=[SMALL_ROUNDS, LARGE_ROUNDS])


if __name__ == "__main__":
    main()
