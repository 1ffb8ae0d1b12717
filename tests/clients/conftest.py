"""Peers that follow a script, and an address where nothing listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.clients.peers import Peer, Script
from touchstone_rewards.reward_server.live_server import free_port

StartPeer = Callable[[Script], Awaitable[Peer]]


@pytest.fixture
async def start_peer() -> AsyncIterator[StartPeer]:
    """`await start_peer(script)` gives a peer that listens."""
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
def dead_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REWARD_URL", "REWARD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
