"""Calls of endpoints that storm, drip, hang, lie and die."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.clients.peers import Action, Drip, Hang, Peer, Reply, Reset
from tests.reward_server.remote.conftest import StartPeer, in_turn
from tests.waiting import skip_time, until
from touchstone_rewards.reward_server.live_server import free_port
from touchstone_rewards.reward_server.remote.policy import Breaker, RetryPolicy
from touchstone_rewards.reward_server.remote.transport import (
    Endpoints,
    UpstreamFailed,
    UpstreamTransport,
)

SOON = RetryPolicy(max_tries=4, first_delay_s=0.001, max_delay_s=0.002)
GOOD = Reply(200, {"ok": True})
Connect = Callable[..., UpstreamTransport]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[UpstreamTransport] = []

    def to(*peers: Peer | str, **options: Any) -> UpstreamTransport:
        urls = [peer if isinstance(peer, str) else peer.url for peer in peers]
        made.append(UpstreamTransport(Endpoints(urls, **{"retry": SOON, **options})))
        return made[-1]

    yield to
    for transport in made:
        await transport.aclose()


def within(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_failures_that_pass_are_tried_again(start_peer: StartPeer, connect: Connect) -> None:
    peer = await start_peer(in_turn(Reply(429), Reply(503, "busy"), Reset(), GOOD))
    transport = connect(peer)
    assert await transport.post(b"{}", within(60)) == {"ok": True}
    assert transport.counts == {"tries": 4, "failed_tries": 3}


async def test_a_storm_of_429_ends_with_its_status(start_peer: StartPeer, connect: Connect) -> None:
    peer = await start_peer(in_turn(Reply(429, {"error": "slow down"})))
    with pytest.raises(UpstreamFailed, match=r"answered 429: .*slow down.*4 tries") as caught:
        await connect(peer).post(b"{}", within(60))
    assert caught.value.retryable


async def test_retry_after_beyond_the_deadline_is_not_waited_for(
    start_peer: StartPeer, connect: Connect
) -> None:
    peer = await start_peer(in_turn(Reply(429, headers={"Retry-After": "500"})))
    async with asyncio.timeout(60):
        with pytest.raises(UpstreamFailed, match=r"answered 429.*leaves no time for another try"):
            await connect(peer).post(b"{}", within(400))
    assert len(peer.seen) == 1


async def test_a_refusal_is_told_at_once_and_is_not_retryable(
    start_peer: StartPeer, connect: Connect
) -> None:
    peer = await start_peer(in_turn(Reply(400, {"error": "no such model"})))
    with pytest.raises(UpstreamFailed, match=r"answered 400: .*no such model") as caught:
        await connect(peer).post(b"{}", within(60))
    assert not caught.value.retryable
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    "body", ['{"choices": [', "[1, 2]", "<html>" + "x" * 5000, "", b"\xff\xfe"]
)
async def test_an_answer_of_another_shape_is_shown_as_far_as_200_characters(
    start_peer: StartPeer, connect: Connect, body: str | bytes
) -> None:
    peer = await start_peer(in_turn(Reply(200, body)))
    with pytest.raises(UpstreamFailed, match="200 with no JSON object at") as caught:
        await connect(peer).post(b"{}", within(60))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("action", [Hang(), Drip()])
async def test_one_that_hangs_or_drips_leaves_time_for_another(
    start_peer: StartPeer, connect: Connect, action: Action
) -> None:
    stuck, good = await start_peer(in_turn(action)), await start_peer(in_turn(GOOD))
    transport = connect(stuck, good, timeout_s=0.2)
    answers = [await transport.post(b"{}", within(60)) for _ in range(3)]
    assert answers == [{"ok": True}] * 3


async def test_one_that_hangs_alone_ends_before_the_deadline(
    start_peer: StartPeer, connect: Connect
) -> None:
    peer = await start_peer(in_turn(Hang()))
    with pytest.raises(UpstreamFailed, match="did not answer within"):
        await connect(peer).post(b"{}", within(0.3))


async def test_a_length_that_is_not_kept_is_no_answer(
    start_peer: StartPeer, connect: Connect
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{"ok": true}')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(UpstreamFailed, match="gave no answer: BrokenAnswer"):
        await connect(url).post(b"{}", within(60))
    server.close()


async def test_load_is_shared(start_peer: StartPeer, connect: Connect) -> None:
    first, second = await start_peer(in_turn(GOOD)), await start_peer(in_turn(GOOD))
    transport = connect(first, second)
    await asyncio.gather(*(transport.post(b"{}", within(60)) for _ in range(10)))
    assert (len(first.seen), len(second.seen)) == (5, 5)


async def test_the_breaker_leaves_a_dead_endpoint_alone_and_one_request_finds_it_back(
    start_peer: StartPeer,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    down = True
    peer = await start_peer(lambda _: Reply(500) if down else GOOD)
    breaker = Breaker(failures=4, rest_s=100.0, max_rest_s=100.0)
    transport = connect(peer, breaker=breaker)
    with pytest.raises(UpstreamFailed, match="answered 500"):
        await transport.post(b"{}", within(60))
    with pytest.raises(UpstreamFailed, match="leaves no time for another try"):
        await transport.post(b"{}", within(0.1))
    assert len(peer.seen) == 4, "it was left alone"
    assert f"{peer.url} failed 4 times in a row (status 500)" in caplog.text
    down = False
    skip_time(monkeypatch, 100.0)
    answers = await asyncio.gather(*(transport.post(b"{}", within(60)) for _ in range(20)))
    assert answers == [{"ok": True}] * 20
    assert caplog.text.count("answers again") == 1


async def test_death_in_the_middle_of_the_load_costs_nothing_where_another_lives(
    start_peer: StartPeer, connect: Connect
) -> None:
    left = 10

    def dies(_: object) -> Action:
        nonlocal left
        left -= 1
        return GOOD if left > 0 else Reset()

    dying, living = await start_peer(dies), await start_peer(in_turn(GOOD))
    transport = connect(dying, living)
    answers = await asyncio.gather(*(transport.post(b"{}", within(60)) for _ in range(60)))
    assert answers == [{"ok": True}] * 60


async def test_no_one_there_is_told_with_the_address(connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UpstreamFailed, match=f"{url} gave no answer: ConnectionRefusedError"):
        await connect(url).post(b"{}", within(60))


async def test_the_rate_limit_refuses_what_would_come_too_late(
    start_peer: StartPeer, connect: Connect
) -> None:
    peer = await start_peer(in_turn(GOOD))
    transport = connect(peer, requests_per_s=0.01)
    assert await transport.post(b"{}", within(60)) == {"ok": True}
    with pytest.raises(UpstreamFailed, match=r"requests_per_s 0.01 left no slot"):
        await transport.post(b"{}", within(60))


@pytest.mark.parametrize("value", ["9" * 400, "Mon, 99999999999 Jan 2020 00:00:00 GMT"])
async def test_a_retry_after_that_makes_no_sense_fails_the_call_and_no_more(
    start_peer: StartPeer, connect: Connect, value: str
) -> None:
    peer = await start_peer(in_turn(Reply(429, headers={"Retry-After": value})))
    transport = connect(peer)
    with pytest.raises(UpstreamFailed, match="answered 429"):
        await transport.post(b"{}", within(60))
    assert transport.servers[0].rests_until_s <= within(600)


@pytest.mark.parametrize(
    "said",
    [
        Reply(401, '{"e": "sk-very\\/secret+uvw"}'),
        Reply(401, '{"e": "s\\u006b-very\\u002Fsecret\\u002buvw"}'),
        Reply(200, '{"e": "sk-very\\/secret+uvw"'),
        Reply(200, {}, {"x" * 60 + " sk-very/secret+uvw": ""}),
        Reply(200, {}, {"Transfer-Encoding": "x" * 70 + "sk-very/secret+uvw"}),
    ],
)
async def test_a_key_is_found_before_a_message_is_cut_and_behind_escapes(
    start_peer: StartPeer, connect: Connect, said: Reply
) -> None:
    peer = await start_peer(in_turn(said))
    with pytest.raises(UpstreamFailed) as caught:
        await connect(peer, key="sk-very/secret+uvw").post(b"{}", within(60))
    for part in ("sk-very", "very", "secret", "uvw"):
        assert part not in str(caught.value)
    assert "[key]" in str(caught.value)


async def test_the_key_is_sent_and_never_shown(
    start_peer: StartPeer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-very-secret-123"
    caplog.set_level(logging.DEBUG)
    said = {"error": f"Incorrect API key provided: {key}"}
    peer = await start_peer(in_turn(Reply(503, said), Reply(401, said)))
    transport = connect(peer, key=key)
    with pytest.raises(UpstreamFailed) as caught:
        await transport.post(json.dumps({}).encode(), within(60))
    await until(lambda: len(peer.seen) == 2)
    assert [seen.headers["authorization"] for seen in peer.seen] == [f"Bearer {key}"] * 2
    assert "[key]" in str(caught.value)
    for shown in (str(caught.value), repr(transport.endpoints), caplog.text):
        assert key not in shown
