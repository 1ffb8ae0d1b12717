"""Small servers that follow a script, to misbehave as no real server can be made to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as it reached a peer."""

    path: str
    headers: dict[str, str]
    body: Any
    at_s: float

    @property
    def ids(self) -> list[str]:
        return [sample["id"] for sample in self.body["samples"]]


@dataclass(frozen=True)
class Reply:
    """An answer, sent once `gate` is set if there is one; `body` is sent as JSON unless it is text
    or bytes.
    """

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    gate: asyncio.Event | None = None


class Hang:
    """No answer, and the connection stays open."""


class Reset:
    """The connection is reset in place of an answer."""


class Drip:
    """An answer that never ends, a byte now and then."""


Action = Reply | Hang | Reset | Drip
Script = Callable[[Seen], Action]


@dataclass
class Peer:
    """A server that follows its script; `seen` has the requests that it received."""

    script: Script
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    busy: int = 0
    most_busy: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await _read(reader)
                self.seen.append(request)
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                try:
                    await _act(self.script(request), writer)
                finally:
                    self.busy -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def scored(request: Seen, reward: float = 1.0, **reply: Any) -> Reply:
    """Return the answer of a well-behaved server."""
    results = [result(sample_id, reward) for sample_id in request.ids]
    return Reply(200, answer(results) | {"profile": request.body.get("profile", "math")}, **reply)


def told_of(script: Script, *needs: str, **more: Any) -> Script:
    """Return the script of a server that also says which fields its profile `math` needs."""
    about = {"name": "math", "description": "", "scorers": ["math"], "ranges": {}}
    profile = {**about, "fingerprint": "f", "reads": ["response", *needs], "needs": [*needs]} | more

    def act(request: Seen) -> Action:
        if request.path == "/profiles":
            return Reply(200, {"profiles": [profile]})
        return script(request)

    return act


def answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"results": results, "profile": "math", "fingerprint": "f", "elapsed_ms": 1.0}


def result(sample_id: str, reward: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    scores = {"math": reward}
    return {"id": sample_id, "status": "ok", "reward": reward, "scores": scores, **changes}


def failed(sample_id: str, *, retryable: bool) -> dict[str, Any]:
    error = {"code": "worker_lost", "message": "killed", "retryable": retryable}
    return result(sample_id, None, status="error", error=error)


def error_body(code: str, message: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "request_id": "r1"}}


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(first.split()[1], headers, json.loads(body) if body else None, time.monotonic())


async def _act(action: Action, writer: asyncio.StreamWriter) -> None:
    if isinstance(action, Reset):
        writer.transport.abort()
        raise ConnectionResetError
    if isinstance(action, Hang):
        await asyncio.sleep(3600)
    if isinstance(action, Drip):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)
    assert isinstance(action, Reply)
    await asyncio.sleep(action.after_s)
    if action.gate is not None:
        await action.gate.wait()
    body = action.body
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = {"Content-Length": str(len(body)), **action.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {action.status} Spoken\r\n{head}\r\n".encode() + body)
    await writer.drain()
