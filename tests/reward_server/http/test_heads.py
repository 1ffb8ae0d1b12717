"""A head that was read before is recognized, and means what the parser made of it."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.reward_server.http.test_connections import FakeTransport
from tests.waiting import until
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.http import connections
from touchstone_rewards.reward_server.http.connections import Connection, ConnectionLimits
from touchstone_rewards.reward_server.http.heads import MOST_HEADS, KnownHead, KnownHeads
from touchstone_rewards.reward_server.http.passes import ConnectionTurns
from touchstone_rewards.reward_server.settings import Settings


class Endpoint:
    def begin(self, query: bytes, body: bytes) -> bytes:
        return body


def head_of(data: bytes) -> KnownHead:
    """What a lenient parser might make of the head."""
    lines = data.lstrip().partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").splitlines()
    pairs = [(name.lower(), value) for name, _, value in (x.partition(b": ") for x in lines[1:])]
    return KnownHead(Endpoint(), ("/score", b""), pairs, dict(pairs), keep_alive=True)


def post(*lines: bytes, body: bytes, length: int | None = None, end: bytes = b"\r\n") -> bytes:
    size = len(body) if length is None else length
    lines = b"POST /score HTTP/1.1", *lines, b"Content-Length: %d" % size, b"accept: */*"
    return end.join([*lines, b"", b""]) + body


HOST = b"host: here"
PLAIN = post(HOST, body=b"{}")


def test_only_the_digits_of_content_length_may_differ() -> None:
    heads = KnownHeads()
    heads.keep(PLAIN, head_of(PLAIN))
    for body in (b"", b"{}", b"x" * 99_999):
        found = heads.find(post(HOST, body=body))
        assert found is not None
        assert found[1] == body
    others = [
        post(b"host: there", body=b"{}"),
        post(HOST, b"x: 1", body=b"{}"),
        post(HOST, b"content-length: 2", body=b"{}"),
        post(HOST, body=b"{}", length=3),
        post(HOST, body=b"{}{}", length=2),
        post(HOST, body=b"x" * 100_000),
        PLAIN.replace(b"POST", b"PUT"),
        PLAIN.replace(b"Length: 2", b"Length: +2"),
        PLAIN.replace(b"Length: 2", b"Length: 2 "),
        PLAIN[:20],
        b"",
    ]
    assert [heads.find(other) for other in others] == [None] * len(others)


@pytest.mark.parametrize(
    "data",
    [
        post(HOST, body=b"{}", end=b"\n") + b"\r\ncontent-length: 5\r\n\r\n",
        post(HOST, b"x: 1\r\n folded", body=b"{}"),
        post(HOST, b"content-length: 2", body=b"{}"),
        b"\r\n" + PLAIN,
        post(HOST, b"x: 1\ny: 2", body=b"{}"),
        post(HOST, b"x: " + b"y" * 4000, body=b"{}"),
        PLAIN[:30],
    ],
)
def test_a_head_that_is_not_plain_is_never_recognized(data: bytes) -> None:
    heads = KnownHeads()
    heads.keep(data, head_of(data))
    assert heads.find(data) is None


def test_heads_with_ids_of_their_own_do_not_pile_up() -> None:
    heads = KnownHeads()
    for number in range(3 * MOST_HEADS + 1):
        data = post(HOST, b"x-request-id: %d" % number, body=b"{}")
        heads.keep(data, head_of(data))
        assert heads.find(data) is not None
        assert len(heads._heads) <= MOST_HEADS  # pyright: ignore[reportPrivateUsage]


def score(response: str, *lines: str) -> bytes:
    samples = [{"id": "a", "response": response}]
    body = json.dumps({"profile": "format", "samples": samples}).encode()
    head = "\r\n".join(["POST /score HTTP/1.1", "host: 127.0.0.1", *lines])
    return f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
async def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The data that went through the parser."""
    came: list[bytes] = []
    receive = HttpToolsProtocol.data_received

    def noted(self: HttpToolsProtocol, data: bytes) -> None:
        came.append(data)
        receive(self, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", noted)
    monkeypatch.setattr(connections, "_turns", ConnectionTurns())  # those of this event loop
    return came


async def answers(settings: Settings, *parts: bytes) -> bytes:
    """What one connection answers to these parts, each sent when the one before is dealt with."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        config = uvicorn.Config(app, log_config=None, ws="none", lifespan="off")
        config.load()
        make = partial(Connection, limits=ConnectionLimits(), gate=app.gate)
        wire, state = FakeTransport(), ServerState()
        connection = make(config=config, server_state=state, app_state={})
        connection.connection_made(wire)
        for part in parts:
            if wire.closed:
                break
            connection.data_received(part)
            await until(lambda: not state.tasks)
        connection.connection_lost(None)
        return wire.written


async def test_the_second_request_of_a_client_is_not_parsed(parsed: list[bytes]) -> None:
    said = await answers(Settings(workers=1), *(score("x" * size) for size in (1, 20, 300)))
    assert said.count(b"HTTP/1.1 200") == 3
    assert parsed == [score("x")]


async def test_a_request_in_two_parts_or_with_the_next_one_is_parsed(parsed: list[bytes]) -> None:
    one = score("x")
    parts = [one, one[:30], one[30:], one + one[:40], one[40:], one[:-3], one[-3:], one + one, one]
    said = await answers(Settings(workers=1), *parts)
    assert said.count(b"HTTP/1.1 200") == 8
    assert parsed == parts[:-1]


async def test_the_limit_of_a_body_holds_for_known_heads(parsed: list[bytes]) -> None:
    small, large = score("x"), score("x" * 300)
    said = await answers(Settings(workers=1, max_body_bytes=200), small, small, large)
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"200", b"413"]
    assert parsed == [small]


async def test_a_client_that_closes_is_closed_each_time(parsed: list[bytes]) -> None:
    gone = score("x", "connection: close")
    said = await answers(Settings(workers=1), score("x"), gone, score("x"))
    assert said.count(b"HTTP/1.1 200") == 2
