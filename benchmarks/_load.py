"""Requests over raw connections: what a server can do is not to be limited by its caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any


def post(path: str, content: dict[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def load_of(port: int, requests: Iterator[bytes], connections: int) -> int:
    """Send these requests over so many connections; return how many were answered."""

    async def talk() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        count = 0
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(talk() for _ in range(connections))))
