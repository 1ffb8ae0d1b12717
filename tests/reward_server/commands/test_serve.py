"""`reward-server serve` as a process: starting, refusing to start, draining, dying."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.checkout import ROOT, clean_environment
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.reward_server.live_server import LiveServer

HOSTILE = "scorers: {slow: {scorer: 'tests.reward_server.hostile_scorers:Hostile'}}"
RIGHT = {"id": "a", "response": "\\boxed{46}", "ground_truth": "46"}


def refuse(*options: str, **environment: str) -> str:
    """Return the standard error of a server that must not start."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "touchstone_rewards.reward_server",
            "serve",
            "--port",
            "0",
            *options,
        ],
        cwd=ROOT,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_another_host_than_loopback_is_refused_without_a_key() -> None:
    assert "REWARD_API_KEY" in refuse("--host", "0.0.0.0")


def test_unknown_keys_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("wrokers: 2\n")
    assert "wrokers: unknown key" in refuse("--config", str(file))
    assert "--wrokers" in refuse("--wrokers", "2")


def test_a_scorer_that_cannot_be_built_in_a_worker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("scorers: {math: {config: {answer_form: [boxed]}}}")
    message = refuse("--profiles_dir", str(tmp_path))
    assert "mine.yaml" in message
    assert "answer_form" in message


def test_a_port_that_is_taken_ends_with_a_clear_line(
    start_server: Callable[..., LiveServer],
) -> None:
    first = start_server()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "touchstone_rewards.reward_server",
            "serve",
            "--port",
            str(first.port),
        ],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    what = (
        f"cannot listen on 127.0.0.1 port {first.port}: Address already in use; stop what listens"
    )
    assert what in done.stderr


def test_a_server_on_another_host_opens_with_the_key(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server("--host", "0.0.0.0", REWARD_API_KEY="sesame")
    assert httpx2.post(f"{live.url}/score", json={"samples": []}).status_code == 401
    headers = {"X-API-Key": "sesame"}
    assert httpx2.post(f"{live.url}/score", json={"samples": []}, headers=headers).is_success


async def test_sigterm_finishes_what_is_in_flight_and_turns_the_rest_away(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "slow.yaml").write_text(HOSTILE)
    live = start_server("--profiles_dir", str(tmp_path))

    def body(begun: str) -> dict[str, Any]:
        slow = {"id": "s", "response": "1.5", "ground_truth": "sleep"}
        return {"profile": "slow", "samples": [{**slow, "metadata": {"begun": begun}}]}

    begun = [tmp_path / "one", tmp_path / "two"]
    async with httpx2.AsyncClient(base_url=live.url, timeout=PATIENCE_S) as client:
        await client.get("/health")  # a connection of its own, still open when the signal comes
        in_flight = [
            asyncio.create_task(client.post("/score", json=body(str(file)))) for file in begun
        ]
        await until(lambda: all(file.exists() for file in begun))
        stopping = asyncio.create_task(asyncio.to_thread(live.stop))
        answers = await asyncio.gather(*in_flight)
        assert await stopping == 0
    assert [answer.json()["results"][0]["reward"] for answer in answers] == [1.5, 1.5]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{live.url}/health")


def test_kill_9_leaves_no_process_behind(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "slow.yaml").write_text(HOSTILE)
    live = start_server("--profiles_dir", str(tmp_path))
    stuck = {"id": "s", "response": "1", "ground_truth": "stuck_in_c"}
    body = {"profile": "slow", "samples": [stuck]}
    timeout = httpx2.Timeout(PATIENCE_S, read=1)
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{live.url}/score", json=body, timeout=timeout)
    assert live.process is not None
    family = psutil.Process(live.process.pid).children(recursive=True)
    assert len(family) >= 3  # two workers and a spare at the least
    live.kill()
    gone, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert not alive, alive
    assert len(gone) == len(family)


HANGING = {"loop": "deadline_exceeded", "stuck_in_c": "deadline_exceeded"}
FAILING = {"memory": "scorer_failed", "segfault": "worker_lost", "raise": "scorer_failed"}


@pytest.mark.parametrize(("acts", "deadline_s"), [(HANGING, 1), (FAILING, 600)])
def test_samples_that_hang_or_kill_their_worker_spoil_no_other(
    start_server: Callable[..., LiveServer], tmp_path: Path, acts: dict[str, str], deadline_s: int
) -> None:
    (tmp_path / "hostile.yaml").write_text(HOSTILE)
    limits = ("--sample_deadline_s", str(deadline_s), "--worker_memory_bytes", str(2**28))
    live = start_server("--profiles_dir", str(tmp_path), *limits)
    samples = [{"id": f"g{i}", "response": str(i)} for i in range(1000)]
    for place, act in enumerate(acts):
        samples.insert(190 * place + 7, {"id": act, "response": "1", "ground_truth": act})
    answer = httpx2.post(f"{live.url}/score", json={"profile": "hostile", "samples": samples})
    results = answer.json()["results"]
    assert [result["id"] for result in results] == [sample["id"] for sample in samples]
    for result in results:
        if result["id"] in acts:
            assert result["reward"] is None
            assert result["error"]["code"] == acts[result["id"]]
        else:
            assert result["reward"] == float(result["id"][1:])


def test_the_service_stays_awake_while_workers_are_stuck(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "hostile.yaml").write_text(HOSTILE)
    patience = ("--sample_deadline_s", "1200", "--request_deadline_s", "1200")
    live = start_server("--profiles_dir", str(tmp_path), *patience)
    stuck = {"id": "s", "response": "1", "ground_truth": "stuck_in_c"}
    body = {"profile": "hostile", "samples": [stuck] * 4}
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import httpx2; httpx2.post('{live.url}/score', json={body!r}, timeout=None)",
        ]
    ) as caller:
        while "reward_worker_pending_samples 4" not in httpx2.get(f"{live.url}/metrics").text:
            assert caller.poll() is None
        for _ in range(50):
            assert httpx2.get(f"{live.url}/health").is_success
            assert httpx2.get(f"{live.url}/ready").is_success
        assert caller.poll() is None  # the workers were stuck all the while
        caller.kill()
