"""Share the passes of the event loop among connections, when thousands of requests come at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

# Requests begun in one pass of the event loop: some milliseconds of work.
MOST_A_PASS = 16
# While the server is full, a request waits this long before it is refused, and is looked at this
# often: a slot is usually free sooner than a refused caller would retry.
HOLD_S, LOOK_AGAIN_S = 1.0, 0.005
# Parts of refused bodies read in one pass, each of at most 256 KiB.
DISCARDS_A_PASS = 2


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


class Turning(Protocol):
    """A connection, as far as its turns go."""

    loop: asyncio.AbstractEventLoop
    crowd: Crowd
    flow: FlowControl
    transport: asyncio.Transport

    def begin(self) -> None:
        """Read the request that was held back until this turn."""
        ...


class ConnectionTurns:
    """When thousands of requests come at once, begins them a few at a time, in order. GET requests,
    such as probes of `/health`, do not have to wait for all of them. While the server is full,
    requests wait up to `HOLD_S`."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Turning, float]] = deque()
        self._begun = 0

    def taken(self, connection: Turning) -> bool:
        """Take a turn of this pass; return True if none is left or the server is full."""
        if self._begun == 0:
            connection.loop.call_soon(self._next_pass, connection.loop)
        self._begun += 1
        return self._begun > MOST_A_PASS or bool(self.waiting) or connection.crowd.full()

    def wait(self, connection: Turning) -> None:
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
        self.waiting: deque[Turning] = deque()
        self._looks = False

    def add(self, connection: Turning) -> None:
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
