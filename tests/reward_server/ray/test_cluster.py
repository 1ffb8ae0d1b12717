"""The app on a local Ray with two replicas passes the tests of the plain server, and survives
kills.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.checkout import ROOT, live_server
from tests.waiting import wait_until
from touchstone_rewards.clients import RemoteRewardClient, ScoreResult
from touchstone_rewards.reward_server.live_server import LiveServer

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]' in the checkout")
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

# What any server must pass, whoever runs it.
CONTRACT = ["tests/integration/test_gsm8k.py", "tests/clients/test_real_server.py"]
START_S = 240.0
SAMPLES = 6000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    log = tmp_path_factory.mktemp("cluster") / "log"
    flags = ["--cluster", "--workers", "1", "--cluster_min_replicas", "2"]
    live = live_server(log, *flags, "--cache_bytes", "0").start(wait=False)
    live.wait_until_ready(START_S)
    # Each replica of the app asks Serve on its own which scorers run, every few seconds.
    wait_until(lambda: {ready(live) for _ in range(20)} == {200})
    yield live
    assert live.stop() == 0


def ready(cluster: LiveServer) -> int:
    """Return the status of `/ready` of one of the app's replicas."""
    return httpx2.get(f"{cluster.url}/ready", timeout=10).status_code


def replicas(cluster: LiveServer, deployment: str) -> list[psutil.Process]:
    """Return the processes of a deployment's replicas."""
    assert cluster.process is not None
    found = []
    for process in psutil.Process(cluster.process.pid).children(recursive=True):
        try:
            if f"ServeReplica:touchstone:{deployment}" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # ended meanwhile
            continue
    return found


def test_the_tests_of_a_plain_server_pass(cluster: LiveServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CONTRACT],
        cwd=ROOT,
        env={**os.environ, "TEST_SERVER_URL": cluster.url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("deployment", ["scorer:math", "app"])
def test_a_replica_killed_under_load_loses_nothing(cluster: LiveServer, deployment: str) -> None:
    samples = [
        {"id": str(i), "response": f"\\boxed{{{i}}}", "ground_truth": str(i + i % 2)}
        for i in range(SAMPLES)
    ]
    found: list[ScoreResult] = []

    def score() -> None:
        with RemoteRewardClient(cluster.url, timeout_s=300, batch_size=32) as client:
            found.extend(client.score(samples, profile="math"))

    caller = threading.Thread(target=score)
    caller.start()
    time.sleep(0.3)
    victims = replicas(cluster, deployment)
    assert len(victims) == 2
    assert caller.is_alive(), "all was scored before anything was killed"
    os.kill(victims[0].pid, signal.SIGKILL)
    caller.join()
    assert [result.reward for result in found] == [float(i % 2 == 0) for i in range(SAMPLES)]


def test_without_a_replica_calls_end_at_their_deadline_and_the_app_is_not_ready(
    cluster: LiveServer,
) -> None:
    for victim in replicas(cluster, "scorer:math"):
        os.kill(victim.pid, signal.SIGKILL)
    sample = {"id": "1", "response": "\\boxed{4}", "ground_truth": "4"}
    body = {"profile": "math", "samples": [sample], "deadline_ms": 300}
    answer = httpx2.post(f"{cluster.url}/score", json=body)
    assert answer.status_code == 504, answer.text
    assert answer.json()["error"]["code"] == "request_deadline"
    wait_until(lambda: ready(cluster) == 503)
    wait_until(lambda: ready(cluster) == 200)
    answer = httpx2.post(f"{cluster.url}/score", json=body | {"deadline_ms": 60_000})
    assert answer.json()["results"][0]["reward"] == 1.0


def test_replicas_that_find_no_place_are_refused_at_the_start(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "log", "--cluster", "--workers", "100000").start(wait=False)
    assert live.process is not None
    assert live.process.wait(START_S) == 2
    assert "lower workers or cluster_min_replicas" in live.log.read_text()
