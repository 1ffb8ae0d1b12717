"""Connections with limits on headers, number and silence, beyond those of uvicorn.

Uvicorn waits forever for the rest of a request and for a client to read its answer, and accepts
headers of any size and any number of connections. Here each connection records since when it waits,
and `sweep_connections` closes those that wait too long, so that no request needs a timer.
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
# Limits of one request's line and headers; a client usually sends some hundred bytes.
MAX_HEAD_BYTES, MAX_HEADERS = 2**15, 100
# Requests begun in one pass of the event loop: some milliseconds of work.
MOST_A_PASS = 16
# While the server is full, a request waits this long before it is refused, and is looked at this
# often: a slot is usually free sooner than a refused caller would retry.
HOLD_S, LOOK_AGAIN_S = 1.0, 0.005
# Parts of refused bodies read in one pass, each of at most 256 KiB.
DISCARDS_A_PASS = 2


class ConnectionTurns:
    """When thousands of requests come at once, begins them a few at a time, in order. GET requests,
    such as probes of `/health`, do not have to wait for all of them. While the server is full,
    requests wait up to `HOLD_S`."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Connection, float]] = deque()
        self._begun = 0

    def taken(self, connection: Connection) -> bool:
        """Take a turn of this pass; return True if none is left or the server is full."""
        if self._begun == 0:
            connection.loop.call_soon(self._next_pass, connection.loop)
        self._begun += 1
        return self._begun > MOST_A_PASS or bool(self.waiting) or connection.crowd.full()

    def wait(self, connection: Connection) -> None:
        """Queue this connection's request until its turn."""
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
            self._begun = 1  # requests that come now queue behind these
            loop.call_later(LOOK_AGAIN_S, self._next_pass, loop)


class Discards:
    """The rest of refused bodies, which is read and thrown away a little at a time.

    Reading all of thirty such bodies at once would leave no time for other requests.
    """

    def __init__(self) -> None:
        self.waiting: deque[Connection] = deque()
        self._looks = False

    def add(self, connection: Connection) -> None:
        """Pause reading from this connection until its turn."""
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
    """`most`: open connections. The timeouts limit silence: `receive_s` while a request is
    incomplete, `send_s` while an answer is not read, `idle_s` between requests."""

    most: int = 4096
    receive_s: float = 8.0
    send_s: float = 30.0
    idle_s: float = 75.0


@dataclass
class Crowd:
    """The connections of this process, compared with those of processes on the same port.

    `too_many`: the number of connections to close after their next answer, so that their callers
    reconnect to another process. `on_closed` is called for each closed connection. `full` returns
    whether the pending samples are near their limit.
    """

    too_many: int = 0
    full: Callable[[], bool] = lambda: False
    on_closed: Callable[[], None] | None = None

    def lets_go(self) -> bool:
        """Return whether to close this connection, and count it as closed."""
        if not self.too_many:
            return False
        self.too_many -= 1
        return True


class Connection(HttpToolsProtocol):
    """`waits_since_s`: when data last came from the client, in loop time, while its request is
    incomplete; None while nothing is expected from it.

    Headers must be complete within the timeout, so a trickle of them does not help; a body may take
    as long as it keeps coming. After the answer is sent, the rest of the body has one timeout in
    total.
    """

    waits_since_s: float | None = None
    # Since when: the answer is sent but the body goes on; the client reads too slowly; the
    # connection is idle; the connection is closing.
    answered_since: float | None = None
    unread_since: float | None = None
    idle_since_s: float | None = None
    closing_since_s: float | None = None
    _in_body = False
    _held = b""
    # Bytes received that belong neither to a complete head nor to a body.
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
                NotReady(f"{self.limits.most} connections are open; try again on another server")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.crowd.on_closed is not None:
            self.crowd.on_closed()

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest; return whether there was one."""
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
            self._held, self.waits_since_s = data, None  # the client waits for us
            _turns.wait(self)
            return
        self._feed(data)

    def begin(self) -> None:
        """Read the data that was held back until this turn."""
        data, self._held = self._held, b""
        if data and self.parser is not None:
            self.waits_since_s = self.loop.time()
            self.flow.resume_reading()
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._unaccounted_bytes += len(data)
        super().data_received(data)
        if self._unaccounted_bytes > MAX_HEAD_BYTES and self.waits_since_s is not None:
            self._refuse(
                HeadersTooLarge(f"received more than {MAX_HEAD_BYTES} bytes outside of a body")
            )

    def _refuse(self, error: RequestError) -> None:
        """Answer with an error before the app sees the request, and close."""
        if self.closing_since_s is not None:
            return
        body = error_body(error, "")
        cycle: Any = self.cycle  # None before the first request, despite its type
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
                most = f"at most {MAX_HEADERS} of {MAX_HEAD_BYTES} bytes together are accepted"
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
        self.headers = []  # trailers go here and are ignored

    def _whole(self) -> WholeRequest | None:
        """Return the request if it can be answered without ASGI: small, plain, not pipelined."""
        path, _, query = self.url.partition(b"?")
        if self.gate is None or (endpoint := self.gate.whole.get(path)) is None:
            return None
        before: Any = self.cycle  # None before the first request, despite its type
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
        """Send the answer to a request that was read as a whole."""
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
        # Most bodies come in few parts: pass the first part on as it is, where uvicorn would copy
        # it into a buffer and out again.
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
        # The same as in uvicorn, without its timer for an idle connection.
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
        """Close the connection if its client has let it wait for too long."""
        limits = self.limits
        if self.transport.is_closing():
            # A normal close waits until everything is read, which may never happen.
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
    """Close every connection whose client lets it wait for too long; run until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_S)
        for connection in list(connections):
            cast(Connection, connection).sweep(loop.time())
