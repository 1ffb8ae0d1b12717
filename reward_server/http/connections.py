"""Connections that cost little before anyone knows whose they are, and that do not wait for ever.

Uvicorn waits without end for the rest of a request and for a client to read its answer, takes
headers of any size, and connections of any number. Here each connection notes since when it waits
for what, and `sweep_connections` looks at all of them, those that idle between requests included: a
request costs no timer.
"""

from __future__ import annotations

import asyncio
import http
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from touchstone_rewards.reward_server.errors import HeadersTooLarge, NotReady, RequestError
from touchstone_rewards.reward_server.http.gate import AnswerParts, Gate, error_body
from touchstone_rewards.reward_server.http.whole import (
    MOST_DIGITS,
    UNUSUAL,
    WholeRequest,
    all_lines,
)

SWEEP_S = 1.0
# Of one request's line and headers; a client sends some hundred bytes.
MAX_HEAD_BYTES, MAX_HEADERS = 2**15, 100
# So many requests begin in one pass of the event loop, some milliseconds of work.
MOST_A_PASS = 16
# While the server is full, a request waits so long before it is begun and refused, and each look
# takes so long: a place is free sooner than a refused caller comes again.
HOLD_S, LOOK_AGAIN_S = 1.0, 0.005
# Parts of refused bodies that are read in one pass, of 256 KiB at the most.
DISCARDS_A_PASS = 2


class ConnectionTurns:
    """When thousands of requests come at once, they begin a few at a time, in their order, and
    whoever asks with a GET, such as a probe of `/health`, need not wait for all of them. While the
    server is full they wait, `HOLD_S` at most."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Connection, float]] = deque()
        self._begun = 0

    def taken(self, connection: Connection) -> bool:
        """Are this pass's turns taken, or is the server full? If not, one more is taken."""
        if self._begun == 0:
            connection.loop.call_soon(self._next_pass, connection.loop)
        self._begun += 1
        return self._begun > MOST_A_PASS or bool(self.waiting) or connection.crowd.full()

    def wait(self, connection: Connection) -> None:
        """Begin this connection's request when its turn comes."""
        self.waiting.append((connection, connection.loop.time()))

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s, self._begun = loop.time(), 0
        while self.waiting and self._begun < MOST_A_PASS:
            connection, since_s = self.waiting[0]
            if now_s < since_s + HOLD_S and connection.crowd.full():
                break
            self._begun += 1
            self.waiting.popleft()[0].begin()
        if self._begun:
            loop.call_soon(self._next_pass, loop)
        elif self.waiting:
            self._begun = 1  # whoever comes now waits behind these
            loop.call_later(LOOK_AGAIN_S, self._next_pass, loop)


class Discards:
    """What still comes of bodies that were refused, read and thrown away a little at a time.

    Reading all of thirty such bodies that come at once would leave no time for anyone else.
    """

    def __init__(self) -> None:
        self.waiting: deque[Connection] = deque()
        self._looks = False

    def add(self, connection: Connection) -> None:
        """Read no more from this connection until its turn comes."""
        connection.flow.pause_reading()
        self.waiting.append(connection)
        if not self._looks:
            self._looks = True
            connection.loop.call_soon(self._next_pass, connection.loop)

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(DISCARDS_A_PASS, len(self.waiting))):
            connection = self.waiting.popleft()
            if not connection.transport.is_closing():
                connection.flow.resume_reading()
        self._looks = bool(self.waiting)
        if self._looks:
            loop.call_soon(self._next_pass, loop)


_turns = ConnectionTurns()
_discards = Discards()


@dataclass(frozen=True)
class ConnectionLimits:
    """`most`: connections at a time. The timeouts are of silence: `receive_s` while a request is
    incomplete, `send_s` while an answer is not read, `idle_s` between requests."""

    most: int = 4096
    receive_s: float = 8.0
    send_s: float = 30.0
    idle_s: float = 75.0


@dataclass
class Crowd:
    """The connections of this process beside those of others that serve the same port.

    `too_many`: so many are closed after their next answer, for their callers to come again
    elsewhere. `on_closed` hears of each that has closed. `full`: are nearly as many samples in work
    as there may be?
    """

    too_many: int = 0
    full: Callable[[], bool] = lambda: False
    on_closed: Callable[[], None] | None = None

    def lets_go(self) -> bool:
        """Is this one of those that are too many?"""
        if not self.too_many:
            return False
        self.too_many -= 1
        return True


class Connection(HttpToolsProtocol):
    """`waits_since_s`: when the client was last heard of, in the loop's time, while a request of
    its is incomplete; None while nothing is awaited of it.

    Headers must be there as a whole within the timeout, so a trickle of them does not help; a body
    may take as long as it keeps coming. Once the answer is sent, what is left of the body has one
    timeout to come, however it comes.
    """

    waits_since_s: float | None = None
    # Since when: the answer is sent and the body is not over; the client reads too slowly; nothing
    # is going on; the connection is closing.
    answered_since: float | None = None
    unread_since: float | None = None
    idle_since_s: float | None = None
    closing_since_s: float | None = None
    _in_body = False
    _held = b""
    # Bytes that came and that no part of a body or a whole head has accounted for.
    _unaccounted_bytes = 0

    def __init__(
        self,
        *arguments: Any,
        limits: ConnectionLimits,
        gate: Gate | None = None,
        crowd: Crowd | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.crowd = crowd or Crowd()
        self.limits = limits
        self.gate = gate

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since_s = self.loop.time()
        if len(self.connections) > self.limits.most and not self._make_room():
            self._refuse(
                NotReady(f"{self.limits.most} connections are open; try again or elsewhere")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.crowd.on_closed is not None:
            self.crowd.on_closed()

    def _make_room(self) -> bool:
        """Close the connection that has idled longest; returns whether there was one."""
        others = cast("set[Connection]", self.connections)
        idle = [each for each in others if each.idle_since_s is not None]
        if not idle:
            return False
        longest = min(idle, key=lambda each: each.idle_since_s or 0.0)
        longest.idle_since_s = None
        longest.transport.abort()
        return True

    def data_received(self, data: bytes) -> None:
        if self.closing_since_s is not None:
            return
        if self._in_body:
            self.waits_since_s = self.loop.time()
        elif self._held:
            self._held += data
            if len(self._held) > MAX_HEAD_BYTES:
                self.flow.pause_reading()
            return
        elif not data.startswith(b"GET ") and _turns.taken(self):
            self._held, self.waits_since_s = data, None  # who is waited for is us
            _turns.wait(self)
            return
        self._feed(data)

    def begin(self) -> None:
        """What was held back until its turn came is read."""
        data, self._held = self._held, b""
        if data and self.parser is not None:
            self.waits_since_s = self.loop.time()
            self.flow.resume_reading()
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._unaccounted_bytes += len(data)
        super().data_received(data)
        if self._unaccounted_bytes > MAX_HEAD_BYTES and self.waits_since_s is not None:
            self._refuse(HeadersTooLarge(f"more than {MAX_HEAD_BYTES} bytes came outside a body"))

    def _refuse(self, error: RequestError) -> None:
        """Answer before the app has heard of anything, and close."""
        if self.closing_since_s is not None:
            return
        body = error_body(error, "")
        cycle: Any = self.cycle  # None before the first request, which its type denies
        if cycle is None or cycle.response_complete:
            head = f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
            if error.retry_after_s is not None:
                head += f"retry-after: {error.retry_after_s:.0f}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.closing_since_s = self.loop.time()
        self.transport.close()

    def shutdown(self) -> None:
        self.begin()
        super().shutdown()

    def on_message_begin(self) -> None:
        self.waits_since_s = self.loop.time()
        self.idle_since_s = None
        self.url, self.headers = b"", []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._unaccounted_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                said = f"{len(self.headers)} headers of {size} bytes came"
                most = f"at most {MAX_HEADERS} of {MAX_HEAD_BYTES} bytes together are read"
                return self._refuse(HeadersTooLarge(f"{said}, {most}"))
        self._unaccounted_bytes = 0
        self._in_body = True
        whole = self._whole()
        if whole is None:
            url, headers = self.url, self.headers
            super().on_message_begin()
            self.url = url
            for header in headers:
                super().on_header(*header)
            super().on_headers_complete()
            if self.crowd.too_many and self.crowd.lets_go():
                self.cycle.keep_alive = False
        else:
            cycle: Any = whole
            self.cycle = cycle
        self.headers = []  # of trailers, which are of no interest

    def _whole(self) -> WholeRequest | None:
        """The request, if it may be answered without ASGI: it is small, plain and alone."""
        path, _, query = self.url.partition(b"?")
        if self.gate is None or (endpoint := self.gate.whole.get(path)) is None:
            return None
        before: Any = self.cycle  # None before the first request, which its type denies
        if self.flow.write_paused or not (before is None or before.response_complete):
            return None
        headers, parser = dict(self.headers), self.parser
        assert parser is not None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > MOST_DIGITS or not UNUSUAL.isdisjoint(headers):
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or b"#" in query:
            return None
        about = (path.decode(), query), (self.headers, headers), int(length)
        lets_go = self.crowd.too_many and self.crowd.lets_go()
        keep_alive = parser.should_keep_alive() and not lets_go
        return WholeRequest(self.gate, endpoint, *about, keep_alive=keep_alive)

    def answer(self, answer: AnswerParts, request_id: str, *, keep_alive: bool) -> None:
        """Send the answer to a request that came whole."""
        status, headers, body = answer
        lines = all_lines(self.server_state.default_headers, headers)
        if not keep_alive:
            lines += b"connection: close\r\n"
        about = STATUS_LINE[status], lines, len(body), request_id.encode(), body
        self.transport.write(b"%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % about)
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        if self.closing_since_s is not None:
            return
        self._unaccounted_bytes = 0
        # Most bodies come in few parts: the first is passed on as it is, where uvicorn would copy
        # it into a buffer and once more out of it.
        cycle: Any = self.cycle
        if isinstance(cycle, WholeRequest):
            cycle.feed(body)
            return
        if cycle is not None and cycle.response_complete:
            if not self.flow.read_paused:
                _discards.add(self)
            return
        if cycle is None or cycle.body:
            if cycle is not None and isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            super().on_body(body)
            return
        cycle.body = body
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.closing_since_s is not None:
            return
        self._unaccounted_bytes = 0
        self._in_body, self.waits_since_s, self.answered_since = False, None, None
        if isinstance(self.cycle, WholeRequest):
            self.cycle.run(self)
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        now_s = self.loop.time()
        self.answered_since = now_s if self._in_body else None
        if self.pipeline:
            super().on_response_complete()
            return
        # What uvicorn does here, without its timer for a connection that idles.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.idle_since_s = None if self._in_body else now_s
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        self.unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.unread_since = None
        super().resume_writing()

    def sweep(self, now_s: float) -> None:
        """Close the connection if its client has kept it waiting for too long."""
        limits = self.limits
        if self.transport.is_closing():
            # A close waits until all is read, which may be never.
            self.closing_since_s = self.closing_since_s or now_s
            if self.closing_since_s < now_s - limits.send_s:
                self.transport.abort()
        elif _before(self.unread_since, now_s - limits.send_s):
            self.transport.abort()
        elif _before(self.idle_since_s, now_s - limits.idle_s):
            self.transport.close()
        else:
            since = None if self.flow.read_paused else self.waits_since_s
            if self.answered_since is not None:
                since = self.answered_since
            if _before(since, now_s - limits.receive_s):
                self.transport.close()


def _before(moment_s: float | None, then_s: float) -> bool:
    return moment_s is not None and moment_s < then_s


async def sweep_connections(connections: Iterable[object]) -> None:
    """Runs until cancelled: closes each connection whose client keeps it waiting for too long."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_S)
        for connection in list(connections):
            cast(Connection, connection).sweep(loop.time())
