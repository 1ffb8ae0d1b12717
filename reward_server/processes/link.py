"""Messages between two processes of one server: questions with answers, and reports without.

`ask` returns the other side's answer, or raises its error; `tell` sends a report. Cancelling `ask`
also cancels the work on the other side.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Literal

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server import errors
from touchstone_rewards.reward_server.errors import InternalError, NotReady, RequestError

LENGTH_BYTES = 4
# Reports are dropped while more than this is waiting to be read by the other side.
MOST_WAITING_BYTES = 32 * 2**20
LOST = "the process of this server that was asked has ended and is being restarted; try again"

logger = logging.getLogger(__name__)
ERRORS = {
    (kind.status, kind.code): kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RequestError)
}


class LinkMessage(Struct, array_like=True):
    """One message. `number` matches an answer to its question; it is 0 in a report."""

    kind: Literal["ask", "answer", "fail", "tell", "cancel"]
    number: int
    what: str
    body: bytes


class LinkFailure(Struct, array_like=True):
    """A `RequestError`, encoded for the link."""

    status: int
    code: str
    message: str
    retry_after_s: float | None


AnswerAsked = Callable[[str, bytes], Awaitable[bytes]]
_decode = msgspec.msgpack.Decoder(LinkMessage).decode
_decode_failure = msgspec.msgpack.Decoder(LinkFailure).decode


class Link:
    """One end of the link. `answer` handles questions and reports, given their name and body.

    `open` it, then `run` it until the other side is gone. `tasks` collects the running answers, for
    a caller that must wait for them at the end.
    """

    def __init__(self, answer: AnswerAsked, tasks: set[asyncio.Task[None]] | None = None) -> None:
        self.lost = False
        self._answer = answer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._working: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set() if tasks is None else tasks
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, connected: socket.socket) -> None:
        """Connect to a socket; after this, `ask` works."""
        self._reader, self._writer = await asyncio.open_connection(sock=connected)

    async def run(self) -> None:
        """Read messages until the other side is gone."""
        reader = self._reader
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                self._take(_decode(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.close()

    def close(self) -> None:
        """Close the link; waiting questions fail with `NotReady`."""
        self.lost = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NotReady(LOST))
        for work in self._working.values():
            work.cancel()
        if self._writer is not None:
            self._writer.close()

    async def ask(self, what: str, body: bytes) -> bytes:
        """Return the other side's answer.

        Raises:
            RequestError: the other side raised it; `NotReady` if it is gone.
        """
        if self.lost or self._writer is None:
            raise NotReady(LOST)
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send("ask", number, what, body)
        try:
            return await answer
        except asyncio.CancelledError:
            self._send("cancel", number, "", b"")
            raise
        finally:
            del self._waiting[number]

    @property
    def has_room(self) -> bool:
        """Return whether the other side is there and keeps up with reports."""
        if self.lost or self._writer is None:
            return False
        return self._writer.transport.get_write_buffer_size() <= MOST_WAITING_BYTES

    def tell(self, what: str, body: bytes) -> None:
        """Send a report, which needs no answer."""
        self._send("tell", 0, what, body)

    def _send(self, kind: str, number: int, what: str, body: bytes) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        message = msgspec.msgpack.encode((kind, number, what, body))
        self._writer.write(len(message).to_bytes(LENGTH_BYTES, "big") + message)

    def _take(self, message: LinkMessage) -> None:
        number = message.number
        if message.kind in ("ask", "tell"):
            task = asyncio.get_running_loop().create_task(self._work(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if number:
                self._working[number] = task
                task.add_done_callback(lambda _: self._working.pop(number, None))
        elif message.kind == "cancel":
            if number in self._working:
                self._working[number].cancel()
        elif (waiting := self._waiting.get(number)) is not None and not waiting.done():
            if message.kind == "answer":
                waiting.set_result(message.body)
            else:
                waiting.set_exception(_raised(_decode_failure(message.body)))

    async def _work(self, message: LinkMessage) -> None:
        kind, body = "answer", b""
        with suppress(asyncio.CancelledError):
            try:
                body = await self._answer(message.what, message.body)
            except Exception as error:  # noqa: BLE001, the boundary of a request
                kind, body = "fail", msgspec.msgpack.encode(_failure(error))
            if message.number:
                self._send(kind, message.number, "", body)


def _failure(error: Exception) -> LinkFailure:
    if not isinstance(error, RequestError):
        logger.error("another process's request failed", exc_info=error)
        error = InternalError("this is a bug in the server; its log has the details")
    return LinkFailure(error.status, error.code, str(error), error.retry_after_s)


def _raised(failure: LinkFailure) -> RequestError:
    kind = ERRORS.get((failure.status, failure.code), RequestError)
    raised = kind(failure.message, retry_after_s=failure.retry_after_s)
    raised.status, raised.code = failure.status, failure.code
    return raised
