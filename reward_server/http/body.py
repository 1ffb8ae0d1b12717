"""Bodies of requests and answers: read them, decode them into the types of the wire, send them.

A body becomes a typed request, or an error that says why it does not fit. The routes do the rest.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.responses import Response
from starlette.types import Message, Receive, Send

from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.http.gate import SMALL_BYTES, ClientGone
from touchstone_rewards.reward_server.schemas import ScoreResponse

T = TypeVar("T")
Body = bytes | bytearray | memoryview
DOES_NOT_FIT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
encode = msgspec.json.Encoder().encode
# Bytes of an answer sent at a time; results encoded at a time.
PART_BYTES, PART_RESULTS = 2**18, 64


async def read_body(receive: Receive) -> Body:
    """Return the whole body; the gate has already limited its size.

    Raises:
        ClientGone: the caller hung up before the end of the body.
    """
    message = await _next_part(receive)
    whole = message.get("body", b"")
    if not message.get("more_body", False):
        return whole
    grown, size = None, len(whole)
    gathered = bytearray(whole)
    while message.get("more_body", False):
        message = await _next_part(receive)
        part = message.get("body", b"")
        if grown is None:
            gathered += part
            if len(gathered) > SMALL_BYTES:
                grown, size = _pages(2 * len(gathered)), len(gathered)
                grown[:size] = gathered
        else:
            while size + len(part) > len(grown):
                grown.resize(2 * len(grown))
            grown[size : size + len(part)] = part
            size += len(part)
    return gathered if grown is None else memoryview(grown)[:size]


async def _next_part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _pages(size: int) -> mmap.mmap:
    """Return memory that grows without copying; a large copy would block the event loop."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def decode(body: Body, decoder: Callable[[Any], T], expected: str) -> T:
    """Return the request in `body`; `expected` shows the caller a valid body.

    Raises:
        InvalidRequest: it is not JSON, or does not match the schema.
    """
    try:
        return decoder(body)
    except DOES_NOT_FIT as error:
        raise misfit(body, error, expected) from error


def misfit(body: Body, error: Exception, expected: str) -> InvalidRequest:
    """Return the error for a body that a decoder refused."""
    surrogate = b"\\ud" in bytes(body[:SMALL_BYTES]).lower() and not isinstance(
        error, msgspec.ValidationError
    )
    hint = "; a lone surrogate such as \\ud800 cannot be encoded" if surrogate else ""
    return InvalidRequest(
        f"the body does not fit: {error}{hint}; expected {expected}, described at /docs"
    )


def json_response(
    content: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with this content as JSON."""
    return Response(encode(content), status, headers, media_type="application/json")


async def encoded(answer: ScoreResponse) -> list[bytes]:
    """Return the answer as JSON, in parts, letting other tasks run in between."""
    head, empty, tail = encode(replace(answer, results=[])).partition(b"[]")
    assert empty
    parts: list[bytes] = []
    gathered = [head + b"["]
    for start in range(0, len(answer.results), PART_RESULTS):
        some = encode(answer.results[start : start + PART_RESULTS])[1:-1]
        gathered += [b",", some] if start else [some]
        if sum(map(len, gathered)) > PART_BYTES:
            parts.append(b"".join(gathered))
            gathered.clear()
            await asyncio.sleep(0)
    return [*parts, b"".join([*gathered, b"]", tail])]


async def send_json(send: Send, *parts: bytes) -> None:
    """Send a 200 with this body; a large one in parts, each after the client has read the last."""
    size = sum(map(len, parts))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if size <= PART_BYTES:
        await send({"type": "http.response.body", "body": b"".join(parts)})
        return
    for whole in parts:
        for start in range(0, len(whole), PART_BYTES):
            part = whole[start : start + PART_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Return the result of `work`; cancel it if the caller hangs up first.

    Raises:
        ClientGone: the caller hung up.
    """
    task = asyncio.current_task()
    assert task is not None
    watcher = asyncio.ensure_future(_cancel_when_gone(receive, task))
    try:
        return await work
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled() and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


async def _cancel_when_gone(receive: Receive, task: asyncio.Task[object]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
