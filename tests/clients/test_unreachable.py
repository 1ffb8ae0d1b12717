"""A server that no retry can reach is reported at once; for others the client waits, with a
warning.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import StartPeer
from tests.clients.peers import Reply, scored
from tests.waiting import longer_and_longer
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    RemoteRewardClient,
    RewardServerUnavailable,
    UnknownHost,
    UntrustedCertificate,
    transport,
)
from touchstone_rewards.reward_server.live_server import LiveServer

SAMPLE = {"id": "a", "response": "x"}
PATIENCE_S = 30.0


async def refused(url: str | list[str], **options: Any) -> Exception:
    """Return the error that scoring raises, long before its deadline."""
    async with AsyncRemoteRewardClient(url, timeout_s=PATIENCE_S, **options) as client:
        with pytest.raises((UnknownHost, UntrustedCertificate)) as raised:
            await asyncio.wait_for(client.score([SAMPLE]), PATIENCE_S / 3)
    return raised.value


def resolving(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    real = socket.getaddrinfo

    def look_up(host: Any, *more: Any, **options: Any) -> Any:
        if host in ("mistyped", b"mistyped"):
            raise socket.gaierror(code, "as the resolver says")
        return real(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def test_a_host_that_does_not_exist_raises_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, socket.EAI_NONAME)
    error = await refused("http://mistyped:8700")
    assert isinstance(error, UnknownHost)
    assert "http://mistyped:8700: its name cannot be resolved" in str(error)


async def test_a_resolver_that_is_out_for_a_while_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving(monkeypatch, socket.EAI_AGAIN)
    async with AsyncRemoteRewardClient("http://mistyped:8700", timeout_s=0.5) as client:
        with pytest.raises(RewardServerUnavailable):
            await client.score([SAMPLE])


async def test_one_host_of_several_that_does_not_exist_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, start_peer: StartPeer
) -> None:
    resolving(monkeypatch, socket.EAI_NONAME)
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(["http://mistyped:1", peer.url]) as client:
        [result] = await client.score([SAMPLE])
    assert result.reward == 1.0


async def test_https_to_a_server_that_speaks_http_says_so(server: LiveServer) -> None:
    error = await refused(server.url.replace("http://", "https://"))
    assert isinstance(error, UntrustedCertificate)
    assert "should the URL start with http://" in str(error)


@pytest.mark.parametrize("kind", [AsyncRemoteRewardClient, RemoteRewardClient])
def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path, kind: Any) -> None:
    missing = tmp_path / "no" / "ca.pem"
    with pytest.raises(UntrustedCertificate, match=f"{missing}: No such file"):
        kind(ca_file=missing)
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(UntrustedCertificate, match=str(junk)):
        kind(ca_file=junk)


async def test_a_certificate_that_is_refused_is_told_by_its_reason(
    monkeypatch: pytest.MonkeyPatch, start_peer: StartPeer
) -> None:
    expired = ssl.SSLCertVerificationError(1, "certificate verify failed")
    expired.verify_message = "certificate has expired"

    def fail(*_: Any, **__: Any) -> Any:
        raise transport.httpx2.ConnectError("refused") from expired

    monkeypatch.setattr(transport.httpx2.AsyncClient, "stream", fail)
    error = await refused("https://reward:8700")
    assert "its certificate is refused: certificate has expired (trusted are the system" in str(
        error
    )


async def test_who_waits_is_told_for_what(
    start_peer: StartPeer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SAY_EVERY_S", 0.2)
    peer = await start_peer(lambda _: Reply(503, "busy"))
    said: list[str] = []
    for timeout_s in longer_and_longer(1.5):
        async with AsyncRemoteRewardClient(peer.url, timeout_s=timeout_s) as client:
            with (
                caplog.at_level(logging.WARNING, transport.__name__),
                pytest.raises(RewardServerUnavailable),
            ):
                await client.score([SAMPLE])
        if said := [record.getMessage() for record in caplog.records]:
            assert len(said) <= timeout_s / 0.2 + 1
            break
    assert said
    assert all(f"{peer.url}: 503: busy" in line for line in said)
