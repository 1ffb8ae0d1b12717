"""Track which endpoints of a transport answer, and notice when one recovers.

Works on a transport of another thread too. An endpoint that failed often enough to be left alone is
down until it answers again: to a call, or to a GET of its address, which costs nothing. Any answer
to that GET counts, such as 404 or 501, unless it reports a server failure.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import httpx2

from touchstone_rewards.reward_server.remote.http1 import BrokenAnswer
from touchstone_rewards.reward_server.remote.policy import ServerHealth
from touchstone_rewards.reward_server.remote.transport import UpstreamTransport

# Shortest interval between checks of a down endpoint, and the time limit of a check.
EVERY_S, WITHIN_S = 1.0, 5.0
NOT_IMPLEMENTED = 501


class EndpointState(NamedTuple):
    """State of one endpoint; `endpoint`: its address."""

    endpoint: str
    up: bool
    in_flight: int


class Liveness:
    """State of all endpoints of one transport."""

    def __init__(self, transport: UpstreamTransport) -> None:
        self.transport = transport
        self._asked_at_s = -EVERY_S
        self._asking: asyncio.Task[None] | None = None

    def states(self) -> list[EndpointState]:
        """Return the state of each endpoint, in the order of their addresses."""
        if not self.transport.servers:
            return [EndpointState(url, True, 0) for url in self.transport.endpoints.urls]
        return [
            EndpointState(server.url, not self._is_down(server), server.in_flight)
            for server in self.transport.servers
        ]

    @property
    def all_down(self) -> bool:
        """True if no endpoint answers."""
        servers = self.transport.servers
        return bool(servers) and all(map(self._is_down, servers))

    def look(self) -> None:
        """Start a background check of the endpoints that are down."""
        loop = asyncio.get_running_loop()
        down = [server for server in self.transport.servers if self._is_down(server)]
        asks = self._asking is not None and not self._asking.done()
        if down and not asks and loop.time() >= self._asked_at_s + EVERY_S:
            self._asked_at_s = loop.time()
            self._asking = loop.create_task(self._ask(down))

    async def _ask(self, servers: list[ServerHealth]) -> None:
        await asyncio.gather(*map(self._ask_one, servers))

    async def _ask_one(self, server: ServerHealth) -> None:
        asked_at_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(WITHIN_S):
                status = await self.transport.status_of(server.url)
        except (OSError, BrokenAnswer, httpx2.InvalidURL):  # a timeout is an OSError too
            return
        if (status < 500 or status == NOT_IMPLEMENTED) and asked_at_s >= server.failed_at_s:
            self.transport.may_be_back(server)

    def _is_down(self, server: ServerHealth) -> bool:
        left_alone = self.transport.endpoints.breaker.is_open(server.failures_in_a_row)
        return left_alone and not server.may_be_back
