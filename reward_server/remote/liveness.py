"""Which endpoints of a transport answer, and whether those that did not are back.

In: a transport, also one that another thread uses. Out: how each endpoint fares. One that failed so
often that it is left alone is down until it answers again: a call, or a GET of its address, which
costs nothing. What it answers to that is of no matter, a 404 or a 501 will do, as long as it is no
failure of a server.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import httpx2

from touchstone_rewards.reward_server.remote.http1 import BrokenAnswer
from touchstone_rewards.reward_server.remote.policy import ServerHealth
from touchstone_rewards.reward_server.remote.transport import UpstreamTransport

# An endpoint that is down is asked so often at most, and given so long.
EVERY_S, WITHIN_S = 1.0, 5.0
NOT_IMPLEMENTED = 501


class EndpointState(NamedTuple):
    """How one endpoint fares; `endpoint`: its address."""

    endpoint: str
    up: bool
    in_flight: int


class Liveness:
    """How the endpoints of one transport fare."""

    def __init__(self, transport: UpstreamTransport) -> None:
        self.transport = transport
        self._asked_at_s = -EVERY_S
        self._asking: asyncio.Task[None] | None = None

    def states(self) -> list[EndpointState]:
        """Return how each endpoint fares, in the order of their addresses."""
        if not self.transport.servers:
            return [EndpointState(url, True, 0) for url in self.transport.endpoints.urls]
        return [
            EndpointState(server.url, not self._is_down(server), server.in_flight)
            for server in self.transport.servers
        ]

    @property
    def all_down(self) -> bool:
        """Whether none of the endpoints answers."""
        servers = self.transport.servers
        return bool(servers) and all(map(self._is_down, servers))

    def look(self) -> None:
        """See soon, and without waiting, whether an endpoint that is down is back."""
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
        except (OSError, BrokenAnswer, httpx2.InvalidURL):  # a time-out is an OSError too
            return
        if (status < 500 or status == NOT_IMPLEMENTED) and asked_at_s >= server.failed_at_s:
            self.transport.may_be_back(server)

    def _is_down(self, server: ServerHealth) -> bool:
        left_alone = self.transport.endpoints.breaker.is_open(server.failures_in_a_row)
        return left_alone and not server.may_be_back
