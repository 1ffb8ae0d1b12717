"""No sample is lost when a server ends, in a rolling restart, or when any process dies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.waiting import PATIENCE_S, longer_and_longer
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    RewardServerUnavailable,
    ScoreResult,
)
from touchstone_rewards.reward_server.live_server import LiveServer

StartServer = Callable[..., LiveServer]
HOSTILE = "scorers: {slow: {scorer: 'tests.reward_server.hostile_scorers:Hostile'}}"


def hostile_profile(folder: Path) -> tuple[str, str]:
    (folder / "slow.yaml").write_text(HOSTILE)
    return "--profiles_dir", str(folder)


def sleeping(count: int, seconds: float) -> list[dict[str, Any]]:
    return [{"id": str(i), "response": str(seconds), "ground_truth": "sleep"} for i in range(count)]


async def test_sigterm_with_1000_samples_in_flight_answers_them_all(
    start_server: StartServer, tmp_path: Path
) -> None:
    live = start_server(*hostile_profile(tmp_path), "--sample_deadline_s", "600")
    gate = tmp_path / "go_on"
    held = {"response": "0.02", "ground_truth": "wait_for", "metadata": {"file": str(gate)}}
    body = {"profile": "slow", "samples": [{"id": str(i), **held} for i in range(50)]}
    async with httpx2.AsyncClient(base_url=live.url, timeout=PATIENCE_S) as client:
        in_flight = [asyncio.create_task(client.post("/score", json=body)) for _ in range(24)]
        while await pending(client) < 1200:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(asyncio.to_thread(live.stop))
        while (await client.get("/ready")).status_code == 200:
            await asyncio.sleep(0.01)
        gate.touch()
        answers = await asyncio.gather(*in_flight)
        assert await stopping == 0
    rewards = [result["reward"] for answer in answers for result in answer.json()["results"]]
    assert rewards == [0.02] * 1200


async def pending(client: httpx2.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return float(text.split("\nreward_worker_pending_samples ")[1].split()[0])


async def test_a_rolling_restart_behind_two_urls_fails_no_call(start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    going, scored = True, 0

    async def caller(client: AsyncRemoteRewardClient, name: int) -> None:
        nonlocal scored
        while going:
            samples = [{"id": f"{name}/{i}", "response": f"{i}"} for i in range(5)]
            results = await client.score(samples, "dummy")
            assert all(result.reward is not None for result in results)
            scored += len(results)

    async with (
        AsyncRemoteRewardClient([server.url for server in servers]) as client,
        asyncio.TaskGroup() as callers,
    ):
        for name in range(8):
            callers.create_task(caller(client, name))
        for server in servers:
            assert await asyncio.to_thread(server.stop) == 0
            gone_at = scored
            while scored < gone_at + 1000:  # the other one goes on
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.restart)
        going = False
    for server in servers:
        assert "Traceback" not in server.log.read_text()


async def test_kill_9_of_any_process_leaves_each_sample_a_result_or_an_honest_error(
    start_server: StartServer, tmp_path: Path
) -> None:
    live = start_server(*hostile_profile(tmp_path))
    assert live.process is not None
    server = psutil.Process(live.process.pid)
    chance = random.Random(7)
    kinds = {"fork server": 0, "worker": 0}
    body = {"profile": "slow", "samples": sleeping(100, 0.005)}
    async with httpx2.AsyncClient(base_url=live.url) as client:
        for _ in range(6):
            scoring = asyncio.create_task(client.post("/score", json=body))
            await asyncio.sleep(0.1)
            # The fork server and below it workers and spare, which look alike from here.
            [fork_server] = server.children()
            kind = chance.choice(list(kinds)) if all(kinds.values()) else min(kinds, key=kinds.get)  # type: ignore[arg-type]
            victim = fork_server if kind == "fork server" else chance.choice(fork_server.children())
            os.kill(victim.pid, signal.SIGKILL)
            kinds[kind] += 1
            results = (await scoring).json()["results"]
            assert [result["id"] for result in results] == [str(i) for i in range(100)]
            lost = [result for result in results if result["reward"] != 0.005]
            assert {result["error"]["code"] for result in lost} <= {"worker_lost"}
            assert len(lost) <= 2  # those that were running
            await asyncio.to_thread(live.wait_until_ready)
    assert all(kinds.values())


async def test_one_hanging_response_alone_in_its_request_is_a_result_not_a_failed_call(
    start_server: StartServer, tmp_path: Path
) -> None:
    """The client's timeout is shorter than a sample's deadline, as is common."""
    for name, deadline_s in {"endless": 1200, "brief": 1}.items():
        hostile = HOSTILE.replace("Hostile'", f"Hostile', deadline_s: {deadline_s}")
        (tmp_path / f"{name}.yaml").write_text(hostile)
        (tmp_path / f"worth_{name}.yaml").write_text(hostile + "\non_response_timeout: -1\n")
    live = start_server("--profiles_dir", str(tmp_path))
    hang = {"ground_truth": "wait_for", "metadata": {"file": "no such file"}}
    request = [{"id": "1", "response": "0", **hang}]

    async def both(name: str, timeout_s: float) -> list[ScoreResult]:
        async with AsyncRemoteRewardClient(live.url, timeout_s=timeout_s) as client:
            calls = (client.score(request, each) for each in (name, f"worth_{name}"))
            return [result for [result] in await asyncio.gather(*calls)]

    results: list[ScoreResult] = []
    for timeout_s in longer_and_longer(2.0):
        with suppress(RewardServerUnavailable):  # on a busy machine they had begun too late
            results = await both("endless", timeout_s)
            break
    assert results
    for result in results:  # its own deadline has not passed, so it is not worth 0
        assert result.reward is None
        assert result.error is not None
        assert (result.error.code, result.error.retryable) == ("deadline_exceeded", False)
    result, worth = await both("brief", PATIENCE_S)
    assert (worth.status, worth.reward, worth.scores) == ("ok", -1.0, {"slow": None})
    assert result.reward is None
