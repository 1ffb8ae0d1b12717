"""Peers that follow a script, and an address where nothing listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tests.clients.peers import Peer, Script

StartPeer = Callable[[Script], Awaitable[Peer]]


@pytest.fixture
async def start_peer() -> AsyncIterator[StartPeer]:
    """`await start_peer(script)` starts a peer and returns it."""
    servers: list[asyncio.Server] = []

    async def start(script: Script) -> Peer:
        peer = Peer(script)
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
        servers.append(server)
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return peer

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def dead_url() -> Iterator[str]:
    """Return a URL where nothing listens, and where nothing can while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REWARD_URL", "REWARD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
