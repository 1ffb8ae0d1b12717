"""Handle small requests that arrive complete, as nearly all do, without ASGI.

It takes the head and body of a request and gives the connection the bytes of the answer. Such
requests pass the gate like all others. If the answer is ready at once, no task is needed; otherwise
a task waits for it, which is cancelled if the caller hangs up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

from touchstone_rewards.reward_server.caller import begin
from touchstone_rewards.reward_server.errors import CLIENT_GONE
from touchstone_rewards.reward_server.http.gate import AnswerParts, Gate, failure, request_id_of
from touchstone_rewards.reward_server.http.heads import Header, KnownHead

JSON_HEADERS = ((b"content-type", b"application/json"),)
# A request with one of these headers goes through ASGI.
UNUSUAL = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})


# uvicorn's default headers, the bytes they encode to, and the same with the header of JSON.
_known: list[Any] = [None, b"", b""]


def all_lines(every: Sequence[Header], headers: Sequence[Header]) -> bytes:
    """Return the bytes of `every`, uvicorn's default headers, and of the answer's own. uvicorn
    renews the date every second."""
    if every is not _known[0]:
        lines = _lines(every)
        _known[:] = every, lines, lines + _lines(JSON_HEADERS)
    return _known[2] if headers is JSON_HEADERS else _known[1] + _lines(headers)


def _lines(headers: Sequence[Header]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


class Connected(Protocol):
    """The connection of a request."""

    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]

    def answer(self, answer: AnswerParts, request_id: str, *, keep_alive: bool) -> None:
        """Send the answer, which ends the request."""
        ...


class WholeRequest:
    """One complete request, in place of uvicorn's cycle."""

    __slots__ = (
        "_asked",
        "_begun",
        "_body_bytes",
        "_gate",
        "_head",
        "_served",
        "_started_s",
        "_task",
        "_work",
        "body",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    def __init__(self, gate: Gate, head: KnownHead, body_bytes: int, *, keep_alive: bool) -> None:
        self._gate = gate
        self._head = head
        self._task: asyncio.Task[None] | None = None
        self._body_bytes = body_bytes
        gate.bodies.pending_bytes += body_bytes
        self.body = b""
        self.disconnected = self.response_complete = self._begun = False
        self.keep_alive = keep_alive

    @property
    def message_event(self) -> WholeRequest:
        """The event that uvicorn sets when the connection is lost: this object, see `set`."""
        return self

    def set(self) -> None:
        """Stop working on the request, because the caller hung up."""
        if self._task is not None:
            self._task.cancel()
            if not self._begun:  # a task cancelled before its first step runs none of its code
                self._work.close()
                self._end((CLIENT_GONE, (), b""))
        elif not self.response_complete:
            self._gate.bodies.pending_bytes -= self._body_bytes

    def feed(self, part: bytes) -> None:
        """Append a part of the body."""
        self.body = self.body + part if self.body else part

    def run(self, asked: Connected) -> None:
        """Answer the complete request, at once or in a task."""
        gate, head = self._gate, self._head
        self._asked, self._started_s = asked, time.perf_counter()
        request_id = request_id_of(head.headers.get(b"x-request-id"))
        self._served = served = begin(None, request_id, keeps_samples=gate.log_samples)
        try:
            gate.check(head.url[0], head.headers, head.pairs, served, self._body_bytes)
            gate.bodies.check_all(self._body_bytes)
            body = head.endpoint.begin(head.url[1], self.body)
        except Exception as error:  # noqa: BLE001, the request boundary
            self._end(failure(error, request_id))
            return
        self.body = b""
        if isinstance(body, bytes):
            self._end((200, JSON_HEADERS, body))
        else:
            self._work = body
            self._task = asked.loop.create_task(self._later())
            asked.tasks.add(self._task)

    async def _later(self) -> None:
        self._begun = True
        try:
            answer = 200, JSON_HEADERS, await self._work
        except asyncio.CancelledError:
            self.disconnected = True
            self._end((CLIENT_GONE, (), b""))
            raise
        except Exception as error:  # noqa: BLE001, the request boundary
            answer = failure(error, self._served.request_id)
        self._end(answer)

    def _end(self, answer: AnswerParts) -> None:
        gate, served, status = self._gate, self._served, answer[0]
        if self._task is not None:
            self._asked.tasks.discard(self._task)
        gate.bodies.pending_bytes -= self._body_bytes
        self.response_complete = True
        if not self.disconnected:
            self._asked.answer(answer, served.request_id, keep_alive=self.keep_alive)
        gate.note(self._head.url[0], status, served, time.perf_counter() - self._started_s)
