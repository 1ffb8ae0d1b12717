"""Connections that do not wait for ever: one whose request does not come is closed.

Uvicorn closes connections that idle between requests, but waits without end for the rest of a
request. Here each connection notes since when it has heard nothing that it is waiting for, and
`close_silent` looks at all of them: a request costs no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SWEEP_S = 1.0
# So many requests begin in one pass of the event loop, some milliseconds of work.
MOST_A_PASS = 8


class Turns:
    """When thousands of requests come at once, they begin a few at a time, in their order, and
    whoever asks with a GET, such as a probe of `/health`, need not wait for all of them."""

    def __init__(self) -> None:
        self.waiting: deque[Connection] = deque()
        self._begun = 0

    def taken(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Are this pass's turns taken? If not, one more is."""
        if self._begun == 0:
            loop.call_soon(self._next_pass, loop)
        self._begun += 1
        return self._begun > MOST_A_PASS

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun = min(MOST_A_PASS, len(self.waiting))
        if self._begun:
            loop.call_soon(self._next_pass, loop)
        for _ in range(self._begun):
            self.waiting.popleft().begin()


_turns = Turns()


class Connection(HttpToolsProtocol):
    """`waits_since`: when the client was last heard of, in the loop's time, while a request of its
    is incomplete; None while nothing is awaited of it.

    Headers must be there as a whole within the timeout, so a trickle of them does not help; a body
    may take as long as it keeps coming.
    """

    waits_since: float | None = None
    _in_body = False
    _held = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self.waits_since = self.loop.time()
        elif self._held:
            self._held += data
            return
        elif not data.startswith(b"GET ") and _turns.taken(self.loop):
            self._held = data
            self.flow.pause_reading()
            _turns.waiting.append(self)
            return
        super().data_received(data)

    def begin(self) -> None:
        """What was held back until its turn came is read."""
        data, self._held = self._held, b""
        if data and self.parser is not None:
            self.flow.resume_reading()
            super().data_received(data)

    def shutdown(self) -> None:
        self.begin()
        super().shutdown()

    def on_message_begin(self) -> None:
        self.waits_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # Most bodies come in few parts: the first is passed on as it is, where uvicorn would copy
        # it into a buffer and once more out of it.
        cycle = cast(Any, self.cycle)
        if cycle is None or cycle.body or cycle.response_complete:
            if cycle is not None and isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            super().on_body(body)
            return
        cycle.body = body
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_body, self.waits_since = False, None
        super().on_message_complete()

    def close_if_silent(self, since: float) -> None:
        """Close it if the client was last heard of before `since`, though it owes something."""
        if self.waits_since is None or self.waits_since > since or self.flow.read_paused:
            return
        self.transport.close()


async def close_silent(connections: Iterable[object], timeout_s: float) -> None:
    """Runs until cancelled: closes each connection that owes bytes and sent none for so long."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_S)
        since = loop.time() - timeout_s
        for connection in list(connections):
            cast(Connection, connection).close_if_silent(since)
