"""Connections with limits on headers, number and silence, beyond those of uvicorn.

Uvicorn waits forever for the rest of a request and for a client to read its answer, and accepts
headers of any size and any number of connections. Here each connection records since when it waits,
and `sweep_connections` closes those that wait too long, so that no request needs a timer.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from touchstone_rewards.reward_server.errors import HeadersTooLarge, NotReady, RequestError
from touchstone_rewards.reward_server.http.gate import AnswerParts, Gate, error_body
from touchstone_rewards.reward_server.http.heads import MOST_DIGITS, KnownHead
from touchstone_rewards.reward_server.http.passes import ConnectionTurns, Crowd, Discards
from touchstone_rewards.reward_server.http.whole import UNUSUAL, WholeRequest, all_lines

SWEEP_S = 1.0
# Limits of one request's line and headers; a client usually sends some hundred bytes.
MAX_HEAD_BYTES, MAX_HEADERS = 2**15, 100

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
    answered_since_s: float | None = None
    unread_since_s: float | None = None
    idle_since_s: float | None = None
    closing_since_s: float | None = None
    _in_body = False
    _held = b""
    # Whether the parser waits for the first byte of a request, and the data given to it then.
    _at_start, _first = True, b""
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
            if self.flow.read_paused:
                self.flow.resume_reading()
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        if self._at_start and self._recognized(data):
            return
        self._first = data if self._at_start else b""
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
        self._at_start = False
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

    def _recognized(self, data: bytes) -> bool:
        """Answer the request if its head was read before; return whether it was."""
        if self.gate is None or self.closing_since_s is not None or not self._free():
            return False
        if (found := self.gate.heads.find(data)) is None:
            return False
        head, body = found
        self._unaccounted_bytes = 0
        self.idle_since_s = self.waits_since_s = self.answered_since_s = None
        self.cycle = request = self._request(head, len(body))
        request.body = body
        request.run(self)
        return True

    def _free(self) -> bool:
        """Return whether the next request may be answered now: the one before it is answered."""
        before: Any = self.cycle  # None before the first request, despite its type
        return not self.flow.write_paused and (before is None or before.response_complete)

    def _request(self, head: KnownHead, body_bytes: int) -> Any:
        assert self.gate is not None
        lets_go = self.crowd.too_many and self.crowd.lets_go()
        keep_alive = head.keep_alive and not lets_go
        return WholeRequest(self.gate, head, body_bytes, keep_alive=keep_alive)

    def _whole(self) -> WholeRequest | None:
        """Return the request if it can be answered without ASGI: small, plain, not pipelined."""
        path, _, query = self.url.partition(b"?")
        if self.gate is None or (endpoint := self.gate.whole.get(path)) is None:
            return None
        if not self._free():
            return None
        headers, parser = dict(self.headers), self.parser
        assert parser is not None
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > MOST_DIGITS or not UNUSUAL.isdisjoint(headers):
            return None
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or b"#" in query:
            return None
        url, keep_alive = (path.decode(), query), parser.should_keep_alive()
        head = KnownHead(endpoint, url, self.headers, headers, keep_alive)
        self.gate.heads.keep(self._first, head)
        self._first = b""
        return self._request(head, int(length))

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
        self._in_body, self._at_start = False, True
        self.waits_since_s = self.answered_since_s = None
        if isinstance(self.cycle, WholeRequest):
            self.cycle.run(self)
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        now_s = self.loop.time()
        self.answered_since_s = now_s if self._in_body else None
        if self.pipeline:
            super().on_response_complete()
            return
        # The same as in uvicorn, without its timer for an idle connection.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.idle_since_s = None if self._in_body else now_s
            if self.flow.read_paused:
                self.flow.resume_reading()

    def pause_writing(self) -> None:
        self.unread_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.unread_since_s = None
        super().resume_writing()

    def sweep(self, now_s: float) -> None:
        """Close the connection if its client has let it wait for too long."""
        limits = self.limits
        if self.transport.is_closing():
            # A normal close waits until everything is read, which may never happen.
            self.closing_since_s = self.closing_since_s or now_s
            if self.closing_since_s < now_s - limits.send_s:
                self.transport.abort()
        elif _before(self.unread_since_s, now_s - limits.send_s):
            self.transport.abort()
        elif _before(self.idle_since_s, now_s - limits.idle_s):
            self.transport.close()
        else:
            since_s = None if self.flow.read_paused else self.waits_since_s
            if self.answered_since_s is not None:
                since_s = self.answered_since_s
            if _before(since_s, now_s - limits.receive_s):
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
