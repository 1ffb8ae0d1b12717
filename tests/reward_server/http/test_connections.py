"""Half-open, too large and encrypted connections, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from uvicorn.server import ServerState

from tests.checkout import live_server, run_command
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    RemoteRewardClient,
    UntrustedCertificate,
)
from touchstone_rewards.reward_server.commands.certificate import expiry_warning, valid_until
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.http.connections import Connection, ConnectionLimits
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import load_settings

StartServer = Callable[..., LiveServer]
HEAD = b"POST /score HTTP/1.1\r\nhost: 127.0.0.1\r\n"
BODY = b'{"profile": "dummy", "samples": []}'
SAMPLE = {"id": "a", "response": "x"}


async def until_closed(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts, then nothing; return what the server sends before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    said = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return said


async def test_half_open_connections_are_closed_and_slow_ones_are_not(
    start_server: StartServer,
) -> None:
    live = start_server("--receive_timeout_s", "4")
    length = f"content-length: {len(BODY)}\r\n\r\n".encode()
    closed = await asyncio.gather(
        until_closed(live.port),
        until_closed(live.port, HEAD),
        until_closed(live.port, HEAD + length + BODY[:10]),
        until_closed(live.port, HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nab"),
        # A request that was answered does not excuse the next one.
        until_closed(live.port, HEAD + length + BODY, HEAD, pause_s=0.5),
    )
    assert [said[:12] for said in closed] == [b""] * 4 + [b"HTTP/1.1 200"]
    slowly = [BODY[i : i + 6] for i in range(0, len(BODY), 6)]
    ending = HEAD + b"connection: close\r\n" + length
    assert len(slowly) * 1.0 > 4
    said = await until_closed(live.port, ending, *slowly, pause_s=1.0)
    assert said.startswith(b"HTTP/1.1 200")


async def test_hundreds_of_requests_at_once_take_turns_and_all_are_answered(
    server: LiveServer,
) -> None:
    whole = HEAD + f"connection: close\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
    links = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
    for place, (_, writer) in enumerate(links):
        writer.write(whole[: place % 60 + 60])  # some have sent half of their headers
    for place, (_, writer) in enumerate(links):
        writer.write(whole[place % 60 + 60 :])
    said = await asyncio.wait_for(
        asyncio.gather(*(reader.read() for reader, _ in links)), PATIENCE_S
    )
    for _, writer in links:
        writer.close()
    assert [answer[:12] for answer in said] == [b"HTTP/1.1 200"] * 300


def test_413_before_a_body_is_sent_at_all(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(HEAD + b"content-length: 200000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


async def test_https_with_a_certificate_that_the_client_is_told_to_trust(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate
    live = live_server(tmp_path / "log", "--tls_cert", str(cert), "--tls_key", str(key))
    live.start(wait=False)
    url = f"https://127.0.0.1:{live.port}"
    try:
        async with AsyncRemoteRewardClient(url, ca_file=cert) as trusting:
            [result] = await trusting.score([SAMPLE], "dummy")
        assert result.reward is not None
        async with AsyncRemoteRewardClient(url) as careful:
            with pytest.raises(UntrustedCertificate, match=r"self-signed certificate.*system's"):
                await careful.score([SAMPLE], "dummy")
        monkeypatch.setenv("REWARD_CA_FILE", str(cert))
        with RemoteRewardClient(url) as told:
            assert await asyncio.to_thread(told.ready)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://127.0.0.1:{live.port}/health")
    finally:
        live.kill()


async def test_a_tls_handshake_that_never_ends_is_closed(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    options = ["--tls_cert", str(cert), "--tls_key", str(key), "--receive_timeout_s", "2"]
    live = live_server(tmp_path / "log", *options).start(wait=False)
    try:
        async with AsyncRemoteRewardClient(
            f"https://127.0.0.1:{live.port}", ca_file=cert
        ) as client:
            await client.score([SAMPLE], "dummy")
        hello = b"\x16\x03\x01\x02\x00\x01"  # how a handshake begins
        closed = await asyncio.gather(until_closed(live.port), until_closed(live.port, hello))
        assert closed == [b"", b""]
    finally:
        live.kill()


def test_an_expired_certificate_is_warned_of_at_start(certificate: tuple[Path, Path]) -> None:
    path, _ = certificate
    end = valid_until(path)
    assert timedelta(days=1) < end - datetime.now(UTC) <= timedelta(days=2)
    assert expiry_warning(path, end - timedelta(seconds=1)) is None
    warning = expiry_warning(path, end + timedelta(seconds=1)) or ""
    assert f"{path} expired on {end:%Y-%m-%d}" in warning


@pytest.mark.parametrize("kind", [["-newkey", "rsa:2048"], ["-newkey", "ed25519"]])
def test_the_end_of_validity_is_what_openssl_says(tmp_path: Path, kind: list[str]) -> None:
    cert = tmp_path / "cert.pem"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(cert), "-subj", "/CN=x/O=y"]
    words = ["openssl", "req", "-x509", "-nodes", "-days", "20000", *kind, *files]  # beyond 2050
    subprocess.run(words, check=True, capture_output=True)
    asked = ["openssl", "x509", "-in", str(cert), "-noout", "-enddate"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    assert said == f"notAfter={valid_until(cert):%b %e %H:%M:%S %Y} GMT"


def test_half_of_a_tls_setting_is_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="tls_cert and tls_key go together"):
        load_settings(None, {"tls_cert": certificate[0]})


def test_a_certificate_that_cannot_be_used_ends_with_a_clear_line(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    options = ["--port", "0", "--tls_cert", str(junk), "--tls_key", str(certificate[1])]
    done = run_command("serve", *options)
    assert done.returncode == 2
    assert f"tls_cert {junk} and tls_key" in done.stderr
    assert "Traceback" not in done.stderr


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written, and whether reading is paused and the connection
    closed.
    """

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.paused = self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def connected(status: int) -> tuple[Connection, FakeTransport]:
    """Make a connection whose app answers every request at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, log_config=None, proxy_headers=False)
    config.load()
    loop = asyncio.get_running_loop()
    about: dict[str, Any] = {"config": config, "server_state": ServerState(), "app_state": {}}
    connection = Connection(**about, _loop=loop, limits=ConnectionLimits(idle_s=75.0))
    transport = FakeTransport()
    connection.connection_made(transport)
    return connection, transport


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_request_that_is_held_back_does_not_count_as_silence_of_its_client() -> None:
    connection, transport = connected(200)
    full = [True]
    connection.crowd.full = lambda: full[0]
    connection.data_received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
    connection.sweep(asyncio.get_running_loop().time() + 60)
    assert not transport.is_closing()
    full[0] = False
    await until(lambda: b"200" in transport.written)


async def test_a_connection_that_idles_is_closed_and_one_that_asks_again_is_not() -> None:
    connection, transport = connected(200)
    now_s = asyncio.get_running_loop().time()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    connection.sweep(now_s + 1000)
    assert not transport.closed  # the answer is awaited
    await passes(3)
    assert transport.written.startswith(b"HTTP/1.1 200")
    connection.sweep(now_s + 70)
    assert not transport.closed
    connection.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    connection.sweep(now_s + 1000)
    assert not transport.closed
    await passes(3)
    connection.sweep(now_s + 1000)
    assert transport.closed


async def test_the_rest_of_a_refused_body_is_read_a_little_in_every_pass() -> None:
    refused = [connected(413) for _ in range(9)]
    for connection, _ in refused:
        connection.data_received(HEAD + b"content-length: 1000000\r\n\r\n")
    await passes(5)
    for connection, transport in refused:
        assert transport.written.startswith(b"HTTP/1.1 413")
        connection.data_received(b"x" * 1000)
    paused = [sum(transport.paused for _, transport in refused)]
    for _ in range(6):
        await passes(1)
        paused.append(sum(transport.paused for _, transport in refused))
    assert (paused[0], paused[-1]) == (9, 0)
    assert all(0 <= before - after <= 2 for before, after in pairwise(paused))
