"""HTTP answers in pieces, in chunks, up to the connection's end, or broken: read or refused."""

from __future__ import annotations

import asyncio
import random
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.waiting import until
from touchstone_rewards.reward_server.remote.http1 import (
    MAX_HEAD_BYTES,
    AnswerReader,
    BrokenAnswer,
    Http1Client,
)

MOST = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# What comes, what its content is, and whether the connection can be used again.
READ = {
    "a length": (OK + b"Content-Length: 2\r\n\r\n{}", b"{}", True),
    "the same length twice": (
        OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
        b"{}",
        True,
    ),
    "nothing": (OK + b"content-length: 0\r\n\r\n", b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "chunks": (CHUNKED + b"1\r\n{\r\n1;a=b\r\n}\r\n0\r\n\r\n", b"{}", True),
    "a trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nx: y\r\n\r\n", b"{}", True),
    "a word before": (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\n{}",
        b"{}",
        True,
    ),
    "a last answer": (OK + b"Connection: Close\r\ncontent-length: 2\r\n\r\n{}", b"{}", False),
    "a length that is none": (
        CHUNKED[:-2] + b"content-length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"{}",
        False,
    ),
    "chunks of an old server": (
        CHUNKED.replace(b"1.1", b"1.0")[:-2]
        + b"connection: keep-alive\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"{}",
        False,
    ),
    "a last answer, by two lines": (
        OK + b"connection: close\r\nconnection: x\r\ncontent-length: 0\r\n\r\n",
        b"",
        False,
    ),
    "an old server": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", b"{}", False),
}
BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "another version": b"HTTP/2 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "the status 000": b"HTTP/1.1 000 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
    "two codings": OK + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
    "a long head": OK + b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
    "words without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
    "no header": OK + b"what is this\r\n\r\n",
    "a folded header": OK + b"a: b\r\n c: d\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "no length": OK + b"content-length: -2\r\n\r\n{}",
    "a coding that is not known": OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
    "no size": CHUNKED + b"xyz\r\n",
    "a negative size": CHUNKED + b"-1\r\n",
    "a chunk that is too long": CHUNKED + b"1\r\n{}\r\n",
    "a head without end": OK + b"x: " + b"y" * MAX_HEAD_BYTES,
    "a size without end": CHUNKED + b"1" * (MAX_HEAD_BYTES + 1),
}


def fed(data: bytes, cuts: list[int]) -> AnswerReader | None:
    """Feed the answer, cut at these places; return the reader once it is complete, or None."""
    reader = AnswerReader(MOST)
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if reader.feed(data[begin:end]):
            assert end == len(data)
            return reader
    return None


@pytest.mark.parametrize("name", READ)
def test_an_answer_is_the_same_however_it_is_cut(name: str) -> None:
    data, content, reusable = READ[name]
    dice = random.Random(name)
    cuts = [sorted(dice.sample(range(1, len(data)), dice.randint(1, 5))) for _ in range(30)]
    for each in ([], *cuts, list(range(1, len(data)))):
        reader = fed(data, each)
        assert reader is not None, each
        assert (reader.answer().content, reader.reusable) == (content, reusable)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_answer_is_refused(name: str) -> None:
    with pytest.raises(BrokenAnswer):
        fed(BROKEN[name], [])


@pytest.mark.parametrize("name", READ)
def test_an_answer_that_breaks_off_is_none(name: str) -> None:
    data, *_ = READ[name]
    for end in range(1, len(data)):
        reader = AnswerReader(MOST)
        if not reader.feed(data[:end]):
            assert not reader.end()


def test_an_answer_may_last_to_the_end_of_the_connection() -> None:
    reader = AnswerReader(MOST)
    assert not reader.feed(OK + b"\r\n{")
    assert not reader.feed(b"}")
    assert reader.end()
    assert (reader.answer().content, reader.reusable) == (b"{}", False)


@pytest.mark.parametrize(
    "head", [OK + b"content-length: 5000\r\n\r\n", OK + b"\r\n", CHUNKED + b"1388\r\n"]
)
def test_no_more_is_read_than_tells_that_it_is_too_much(head: bytes) -> None:
    reader = AnswerReader(MOST)
    assert reader.feed(head + b"x" * (MOST + 1))
    assert len(reader.answer().content) == MOST + 1
    assert not reader.reusable


def test_two_answers_to_one_request_end_the_connection() -> None:
    reader = fed(READ["a length"][0] * 2, [])
    assert reader is not None
    assert (reader.answer().content, reader.reusable) == (b"{}", False)


Start = Callable[
    [Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]
]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[asyncio.Server] = []

    async def run(
        talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ) -> str:
        servers.append(await asyncio.start_server(talk, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/v1/x%20y?z"

    yield run
    for server in servers:
        server.close()


async def test_connections_are_used_again_and_heads_are_whole(start: Start) -> None:
    heads: list[list[str]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own: list[str] = []
        heads.append(own)
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            own.append(head)
            assert await reader.readexactly(2) == b"{}"
            writer.write(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n")

    url = await start(talk)
    client = Http1Client({"Authorization": "Bearer k"}, MOST)
    for _ in range(3):
        assert await client.send("POST", url, b"{}") == (429, b"", "7")
    await asyncio.gather(*(client.send("POST", url, b"{}") for _ in range(3)))
    assert sorted(map(len, heads)) == [1, 1, 4]
    first, *lines = heads[0][0].strip().split("\r\n")
    assert first == "POST /v1/x%20y?z HTTP/1.1"
    host = url.removeprefix("http://").partition("/")[0]
    assert lines == [f"Host: {host}", "Authorization: Bearer k", "Content-Length: 2"]
    client.close()


async def test_a_connection_that_the_server_closed_is_not_used_again(start: Start) -> None:
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await reader.readuntil(b"{}")
        writer.write(READ["a length"][0])
        writer.close()

    url = await start(talk)
    client = Http1Client({}, MOST)
    for _ in range(3):
        assert (await client.send("POST", url, b"{}")).content == b"{}"
        await until(lambda: not any(each.is_open for [each] in client._idle.values()))
    assert count == 3


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request, and keep the connection open."""
    while True:
        try:
            await reader.readuntil(b"{}")
        except asyncio.IncompleteReadError:
            return writer.close()
        writer.write(READ["a length"][0])


async def test_connections_of_a_busy_hour_are_closed_after_it(start: Start) -> None:
    ended: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(reader, writer)
        ended.append(1)

    url = await start(talk)
    client = Http1Client({}, MOST)
    await asyncio.gather(*(client.send("POST", url, b"{}") for _ in range(5)))
    [kept] = client._idle.values()
    for connection in [*kept][:4]:
        connection.idle_since_s -= 1000.0
    await client.send("POST", url, b"{}")
    await until(lambda: len(ended) == 4)
    client.close()
    await until(lambda: len(ended) == 5)


async def test_a_closed_client_keeps_no_connection(start: Start) -> None:
    ended: list[int] = []
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        asked.set()
        await go_on.wait()
        writer.write(READ["a length"][0])
        await answering(reader, writer)
        ended.append(1)

    url = await start(talk)
    client = Http1Client({}, MOST)
    in_hand = asyncio.create_task(client.send("POST", url, b"{}"))
    await asked.wait()
    client.close()
    go_on.set()
    assert (await in_hand).content == b"{}"
    await until(lambda: len(ended) == 1)


async def test_an_answer_before_the_whole_request_ends_the_connection(start: Start) -> None:
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(3600)  # what follows is not read

    url = await start(talk)
    client = Http1Client({}, MOST)
    for _ in range(2):
        assert (await client.send("POST", url, bytes(2**25))).status == 413
    assert count == 2


async def test_a_host_of_ipv6_and_a_proxy_that_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"{}")).decode())
        writer.write(READ["a last answer"][0])

    try:
        server = await asyncio.start_server(talk, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    port = server.sockets[0].getsockname()[1]
    assert (
        await Http1Client({}, MOST).send("POST", f"http://[::1]:{port}/v1", b"{}")
    ).status == 200
    assert f"\r\nHost: [::1]:{port}\r\n" in heads[0]
    server.close()


async def test_a_call_that_is_given_up_takes_its_connection_along(start: Start) -> None:
    ended = asyncio.Event()
    answers = [b"", READ["a length"][0]]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answers.pop(0))
        if await reader.read(1) == b"":
            ended.set()

    url = await start(talk)
    client = Http1Client({}, MOST)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.send("POST", url, b"{}")
    await asyncio.wait_for(ended.wait(), 60)
    assert (
        await client.send("POST", url, b"{}")
    ).content == b"{}"  # not the late answer to the first
    client.close()


async def test_no_server_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError):
        await Http1Client({}, MOST).send("POST", "http://127.0.0.1:9/v1", b"{}")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl makes a certificate")
async def test_https_holds_a_server_to_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words += f" -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key} -out {cert}"
    subprocess.run(words.split(), check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(READ["a length"][0])

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ssl.SSLCertVerificationError):
        await Http1Client({}, MOST).send("POST", f"https://localhost:{port}/v1", b"{}")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    client = Http1Client({}, MOST)
    assert (await client.send("POST", f"https://localhost:{port}/v1", b"{}")).content == b"{}"
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        await client.send("POST", f"https://127.0.0.1:{port}/v1", b"{}")
    client.close()
    server.close()
