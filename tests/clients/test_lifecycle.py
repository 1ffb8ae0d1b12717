"""Importing, opening, closing and forking a client."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.checkout import ROOT, clean_environment
from tests.clients.conftest import StartPeer
from tests.clients.peers import Hang, Reply, error_body, scored
from tests.waiting import PATIENCE_S, wait_until
from touchstone_rewards import clients
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    ClientClosed,
    RemoteRewardClient,
    RetryPolicy,
    RewardServerUnavailable,
    Sample,
)
from touchstone_rewards.reward_server.live_server import LiveServer

CLIENTS = "touchstone_rewards.clients"
SERVER = "touchstone_rewards.reward_server"
SHARED = (f"{SERVER}.schemas", f"{SERVER}.alarms", f"{SERVER}.remote.policy")
ONE = [Sample("a", "x")]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
        timeout=PATIENCE_S,
    )


def test_the_import_is_quick() -> None:
    # Processor seconds, since seconds of the clock include the machine's other work.
    code = f"import time; t = time.process_time(); import {CLIENTS}; print(time.process_time() - t)"
    assert min(float(run(code).stdout) for _ in range(5)) < 0.3


def test_the_import_pulls_in_of_the_server_only_the_wire_and_when_to_send_again() -> None:
    code = f"import sys, {CLIENTS}; print(*(m for m in sys.modules if 'reward_server' in m))"
    pulled_in = {SERVER, f"{SERVER}.remote", *SHARED}
    assert set(run(code).stdout.split()) == pulled_in


def test_all_that_is_public_can_be_imported() -> None:
    for name in clients.__all__:
        assert getattr(clients, name).__module__.startswith((CLIENTS, *SHARED))


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8700", "ftp://host", "", ["http://a", "b"], "http://a,"]
)
def test_what_is_no_url_is_refused_at_once(
    url: str | list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARD_URL", "nowhere")
    with pytest.raises(ValueError, match="http://"):
        RemoteRewardClient(url)


@pytest.mark.parametrize("name", ["timeout_s", "batch_size", "max_in_flight"])
def test_a_limit_that_is_not_positive_is_refused_at_once(name: str) -> None:
    options = {name: 0}
    with pytest.raises(ValueError, match="positive"):
        AsyncRemoteRewardClient("http://127.0.0.1:1", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_tries", "first_delay_s", "max_delay_s", "trial_s"])
def test_a_retry_policy_that_is_not_positive_is_refused_at_once(name: str) -> None:
    numbers = {name: 0}
    with pytest.raises(ValueError, match="positive"):
        RetryPolicy(**numbers)  # type: ignore[arg-type]


def test_urls_may_be_one_several_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RemoteRewardClient().urls == ["http://127.0.0.1:8700"]
    assert RemoteRewardClient("http://a/").urls == ["http://a"]
    monkeypatch.setenv("REWARD_URL", "http://a:1, https://b")
    assert RemoteRewardClient().urls == ["http://a:1", "https://b"]
    assert RemoteRewardClient(["http://c"]).urls == ["http://c"]


async def test_proxies_of_the_environment_are_not_used(
    start_peer: StartPeer, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", dead_url)
    monkeypatch.setenv("all_proxy", dead_url)
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url) as client:
        assert len(await client.score(ONE)) == 1


def test_one_asyncio_client_serves_one_event_loop_after_another(server: LiveServer) -> None:
    client = AsyncRemoteRewardClient(server.url)
    for _ in range(3):
        assert len(asyncio.run(client.score(ONE, "dummy"))) == 1
    assert len(client._dispatchers) == 1, "those of closed loops are let go"


def test_one_asyncio_client_serves_several_event_loops_at_a_time(server: LiveServer) -> None:
    client = AsyncRemoteRewardClient(server.url)

    def call(caller: int) -> list[str]:
        async def calls() -> list[str]:
            own = ([Sample(f"{caller}/{i}", "x")] for i in range(20))
            found = await asyncio.gather(*(client.score(each, "dummy") for each in own))
            return [results[0].id for results in found]

        return asyncio.run(calls())

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(call, range(8)))
    assert found == [[f"{caller}/{i}" for i in range(20)] for caller in range(8)]


async def test_the_blocking_client_works_where_an_event_loop_runs(server: LiveServer) -> None:
    with RemoteRewardClient(server.url) as client:
        assert len(client.score(ONE, "dummy")) == 1


def test_a_closed_client_opens_again(server: LiveServer) -> None:
    before = threading.active_count()
    client = RemoteRewardClient(server.url)
    for _ in range(2):
        assert client.ready()
        client.close()
        client.close()
    wait_until(lambda: threading.active_count() <= before)


async def test_closing_frees_a_thread_that_waits(start_peer: StartPeer) -> None:
    peer = await start_peer(lambda _: Hang())
    client = RemoteRewardClient(peer.url)
    waiting = asyncio.create_task(asyncio.to_thread(client.score, ONE))
    while not peer.seen:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(client.close)
    with pytest.raises(ClientClosed, match="closed while it waited") as raised:
        async with asyncio.timeout(PATIENCE_S):
            await waiting
    assert raised.value.results == [None]


async def test_closing_ends_every_kind_of_wait_with_a_named_error(start_peer: StartPeer) -> None:
    hanging = await start_peer(lambda _: Hang())
    refusing = await start_peer(lambda _: Reply(503, error_body("not_ready")))
    for peer in (hanging, refusing):
        client = AsyncRemoteRewardClient(peer.url)
        waiting = [asyncio.create_task(client.score(ONE)), asyncio.create_task(client.profiles())]
        while len(peer.seen) < 2:
            await asyncio.sleep(0.01)
        await client.aclose()
        for task in waiting:
            with pytest.raises(ClientClosed):
                await asyncio.wait_for(task, PATIENCE_S)


async def test_closing_ends_the_calls_that_wait_and_opens_nothing(start_peer: StartPeer) -> None:
    peer = await start_peer(lambda _: Hang())
    client = AsyncRemoteRewardClient(peer.url, max_in_flight=1, batch_size=1)
    calls = [asyncio.create_task(client.score(ONE)) for _ in range(3)]  # two are not sent yet
    calls.append(asyncio.create_task(client.profiles()))  # type: ignore[arg-type]
    while len(peer.seen) < 2:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE_S):
        await client.aclose()
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in ended] == [ClientClosed] * 4
    assert all("the client was closed" in str(each) for each in ended)
    assert not client._dispatchers, "nothing is left that no one closes"


async def test_a_call_that_times_out_after_a_close_opens_nothing(start_peer: StartPeer) -> None:
    peer = await start_peer(lambda _: Hang())
    client = AsyncRemoteRewardClient(peer.url, timeout_s=0.2)
    with pytest.raises(RewardServerUnavailable):
        await client.score(ONE)
    await client.aclose()
    assert not client._dispatchers


def test_a_forked_child_scores_with_its_parents_client(server: LiveServer) -> None:
    code = """
import os, sys
from touchstone_rewards.clients import RemoteRewardClient, Sample
client = RemoteRewardClient(sys.argv[1])
assert len(client.score([Sample("parent", "x")], "dummy")) == 1
pid = os.fork()
assert [each.id for each in client.score([Sample(str(pid), "x")], "dummy")] == [str(pid)]
client.close()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = run(code, server.url)
    assert done.returncode == 0, done.stderr


async def test_an_interrupt_ends_the_wait(start_peer: StartPeer) -> None:
    peer = await start_peer(lambda _: Hang())
    code = """
import signal, sys
from touchstone_rewards import clients
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
clients.RemoteRewardClient(sys.argv[1]).score([clients.Sample("a", "x")])
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, peer.url, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    while not peer.seen:
        await asyncio.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, said = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert said.decode().strip().endswith("KeyboardInterrupt")
