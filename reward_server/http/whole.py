"""Requests that come whole and are small, as nearly all do: from bytes to bytes, without ASGI.

In: head and body of a request to an endpoint that answers such ones. Out: the answer, as bytes for
the connection. They pass the gate like all others. What can be answered at once costs no task; what
has to wait is a task, which is cancelled when its caller hangs up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from touchstone_rewards.reward_server.caller import begin
from touchstone_rewards.reward_server.errors import CLIENT_GONE
from touchstone_rewards.reward_server.http.gate import (
    AnswerParts,
    Gate,
    Header,
    failure,
    request_id_of,
)

JSON_HEADERS = ((b"content-type", b"application/json"),)
# Of a body, the digits of its length: 99,999 bytes.
MOST_DIGITS = 5
# With one of these headers a request is not plain.
UNUSUAL = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})


# The headers of every answer, and their lines: alone, and with those of an answer in JSON.
_known: list[Any] = [None, b"", b""]


def all_lines(every: Sequence[Header], headers: Sequence[Header]) -> bytes:
    """The lines of an answer's headers behind those of `every` answer, which uvicorn makes anew
    once a second: the date."""
    if every is not _known[0]:
        lines = _lines(every)
        _known[:] = every, lines, lines + _lines(JSON_HEADERS)
    return _known[2] if headers is JSON_HEADERS else _known[1] + _lines(headers)


def _lines(headers: Sequence[Header]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


class WholeEndpoint(Protocol):
    """What answers a whole body: with bytes of JSON, or with a coroutine that comes to them."""

    def begin(self, query: bytes, body: bytes) -> bytes | Coroutine[Any, Any, bytes]:
        """Answer, or begin to."""
        ...


class Connected(Protocol):
    """The connection that a request came on."""

    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]

    def answer(self, answer: AnswerParts, request_id: str, *, keep_alive: bool) -> None:
        """Send the answer; the request is over."""
        ...


class WholeRequest:
    """One such request, in the place of uvicorn's cycle. `headers`: as they came, and by name."""

    __slots__ = (
        "_asked",
        "_begun",
        "_body_bytes",
        "_endpoint",
        "_gate",
        "_headers",
        "_served",
        "_started",
        "_task",
        "_url",
        "_work",
        "body",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    def __init__(
        self,
        gate: Gate,
        endpoint: WholeEndpoint,
        url: tuple[str, bytes],
        headers: tuple[Sequence[Header], dict[bytes, bytes]],
        body_bytes: int,
        *,
        keep_alive: bool,
    ) -> None:
        self._gate = gate
        self._endpoint = endpoint
        self._url = url
        self._headers = headers
        self._task: asyncio.Task[None] | None = None
        self._body_bytes = body_bytes
        gate.bodies.pending_bytes += body_bytes
        self.body = b""
        self.disconnected = self.response_complete = self._begun = False
        self.keep_alive = keep_alive

    @property
    def message_event(self) -> WholeRequest:
        """What uvicorn sets when the connection is lost."""
        return self

    def set(self) -> None:
        """The caller hung up: what is being done for it is not wanted any more."""
        if self._task is not None:
            self._task.cancel()
            if not self._begun:  # it never will: a task that is cancelled first runs nothing
                self._work.close()
                self._end((CLIENT_GONE, (), b""))
        elif not self.response_complete:
            self._gate.bodies.pending_bytes -= self._body_bytes

    def feed(self, part: bytes) -> None:
        """Take in a part of the body."""
        self.body = self.body + part if self.body else part

    def run(self, asked: Connected) -> None:
        """Answer the request, which has come whole: now, or by a task."""
        gate, (path, query) = self._gate, self._url
        self._asked, self._started = asked, time.perf_counter()
        pairs, headers = self._headers
        request_id = request_id_of(headers.get(b"x-request-id"))
        self._served = served = begin(None, request_id, keeps_samples=gate.log_samples)
        try:
            gate.check(path, headers, pairs, served)
            gate.bodies.check_all(self._body_bytes)
            body = self._endpoint.begin(query, self.body)
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
        gate.note(self._url[0], status, served, time.perf_counter() - self._started)
