"""Bodies of requests and answers as bytes: read, decoded into the wire's types, sent.

In: ASGI's `scope`, `receive` and `send`. Out: a typed request, or the error that says what is wrong
with it. What to do with it is the routes'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Send

from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.http.gate import SMALL_BYTES, ClientGone

T = TypeVar("T")
encode = msgspec.json.Encoder().encode
PART_BYTES = 2**18


async def read_body(receive: Receive) -> bytes | bytearray:
    """The whole body; the gate has bounded it.

    Raises:
        ClientGone: the caller hung up before its end.
    """
    whole: bytes | bytearray = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        if not whole:
            whole = part
        elif isinstance(whole, bytearray):
            whole += part  # a join of a large body at its end would hold the event loop
        else:
            whole = bytearray(whole) + part
        if not message.get("more_body", False):
            return whole


def decode(body: bytes | bytearray, decoder: Callable[[Any], T], expected: str) -> T:
    """The request in `body`; `expected` shows the caller what fits.

    Raises:
        InvalidRequest: it is not JSON, or does not fit the wire.
    """
    try:
        return decoder(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        surrogate = b"\\ud" in body[:SMALL_BYTES].lower() and not isinstance(
            error, msgspec.ValidationError
        )
        hint = "; a lone surrogate such as \\ud800 cannot be carried" if surrogate else ""
        raise InvalidRequest(
            f"the body does not fit: {error}{hint}; expected {expected}, described at /docs"
        ) from error


def json_response(
    content: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of the wire's type, as JSON."""
    return Response(encode(content), status, headers, media_type="application/json")


async def send_json(send: Send, body: bytes) -> None:
    """A 200 with this body; a large one in parts, each when the client has taken the last one."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if len(body) <= PART_BYTES:
        await send({"type": "http.response.body", "body": body})
        return
    for start in range(0, len(body) - PART_BYTES, PART_BYTES):
        part = body[start : start + PART_BYTES]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    rest = len(body) % PART_BYTES or PART_BYTES
    await send({"type": "http.response.body", "body": body[len(body) - rest :]})


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """What `work` comes to; when the caller hangs up first, it is cancelled.

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
