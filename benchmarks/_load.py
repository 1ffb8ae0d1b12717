"""Requests over raw connections: what a server can do is not to be limited by its caller."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Where others share the machine: rounds run at real-time priority, and then leave as much time to
# the others as they took.
AHEAD = bool(os.environ.get("BENCH_AHEAD"))


@contextmanager
def ahead_of_others(*pids: int) -> Iterator[None]:
    """Run these processes and this one before all others, if `BENCH_AHEAD` is set."""
    if not AHEAD:
        yield
        return
    threads = [int(each.name) for pid in {*pids, os.getpid()} for each in _threads(pid)]
    began_s = time.monotonic()
    _schedule(threads, os.SCHED_RR, 1)
    try:
        yield
    finally:
        _schedule(threads, os.SCHED_OTHER, 0)
        time.sleep(time.monotonic() - began_s)


def _threads(pid: int) -> Iterable[Path]:
    return Path(f"/proc/{pid}/task").iterdir()


def _schedule(threads: Iterable[int], policy: int, priority: int) -> None:
    for thread in threads:
        os.sched_setscheduler(thread, policy, os.sched_param(priority))


def post(path: str, content: dict[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Return the body of the next answer, which must have the status 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def load_of(port: int, requests: Iterator[bytes], connections: int) -> int:
    """Send these requests over so many connections; return how many were answered."""

    async def talk() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        count = 0
        for request in requests:
            writer.write(request)
            await answered(reader)
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(talk() for _ in range(connections))))
