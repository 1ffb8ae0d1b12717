"""Endpoints that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.clients.peers import Action, Peer, Script

StartPeer = Callable[[Script], Awaitable[Peer]]


def in_turn(*actions: Action) -> Script:
    """Return a script that does these actions in turn, and repeats the last one."""
    left = list(actions)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
async def start_peer() -> AsyncIterator[StartPeer]:
    servers: list[asyncio.Server] = []

    async def start(script: Script) -> Peer:
        peer = Peer(script)
        servers.append(await asyncio.start_server(peer.serve, "127.0.0.1", 0))
        peer.url = f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/v1"
        return peer

    yield start
    for server in servers:
        server.close()
