"""A server while its models load, when one cannot be loaded, and when one dies later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.checkout import live_server, run_command
from tests.waiting import PATIENCE_S, wait_until
from touchstone_rewards.reward_server.live_server import LiveServer

StartServer = Callable[..., LiveServer]
BODY = {"profile": "mine", "samples": [{"id": "a", "response": "fine"}]}


def profile(folder: Path, scorer: str) -> tuple[str, str]:
    path = f"tests.reward_server.dying_model:{scorer}"
    (folder / "mine.yaml").write_text(f"scorers: {{mine: {{scorer: '{path}'}}}}")
    return "--profiles_dir", str(folder)


def ready(live: LiveServer) -> tuple[int, Any]:
    answer = httpx2.get(f"{live.url}/ready")
    return answer.status_code, answer.json().get("reason")


def wait_for_health(live: LiveServer) -> None:
    def healthy() -> bool:
        assert live.process is not None
        assert live.process.poll() is None, live.log.read_text()
        try:
            return httpx2.get(f"{live.url}/health").status_code == 200
        except httpx2.TransportError:
            return False

    wait_until(healthy)


@pytest.fixture
def live(tmp_path: Path) -> Any:
    options = profile(tmp_path, "SlowToLoad")
    server = live_server(tmp_path / "log", *options, TEST_LOADS_WHEN=str(tmp_path / "load"))
    server.start(wait=False)
    yield server
    server.kill()


def test_the_port_answers_before_the_models_are_loaded(live: LiveServer, tmp_path: Path) -> None:
    wait_for_health(live)
    status, reason = ready(live)
    assert status == 503
    assert reason.startswith("starting: ")
    turned_away = httpx2.post(f"{live.url}/score", json=BODY)
    assert (turned_away.status_code, turned_away.headers["retry-after"]) == (503, "1")
    (tmp_path / "load").touch()
    live.wait_until_ready()
    scored = httpx2.post(f"{live.url}/score", json=BODY).json()
    assert scored["results"][0]["reward"] == 0.5


def test_a_server_that_is_stopped_while_it_loads_leaves_nothing_behind(live: LiveServer) -> None:
    wait_for_health(live)
    assert live.process is not None
    family = psutil.Process(live.process.pid).children(recursive=True)
    assert live.stop() == 0
    assert not psutil.wait_procs(family, timeout=PATIENCE_S)[1]


def test_a_model_that_cannot_be_loaded_ends_the_server_with_one_line(tmp_path: Path) -> None:
    options = ["--port", "0", "--workers", "1", *profile(tmp_path, "CannotBeLoaded")]
    done = run_command("serve", *options)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "reward-server: cannot load: RuntimeError: the weights are not there"


def test_not_ready_while_a_models_thread_is_dead_and_ready_when_it_is_back(
    start_server: StartServer, tmp_path: Path
) -> None:
    live = start_server(*profile(tmp_path, "DyingScorer"))
    poison = {"profile": "mine", "samples": [{"id": "p", "response": "poison"}]}
    seen = []
    for _ in range(5):
        answer = httpx2.post(f"{live.url}/score", json=poison)
        assert answer.status_code == 503 or (
            answer.json()["results"][0]["error"]["code"] == "worker_lost"
        )
        seen.append(ready(live))
        if seen[-1][0] == 503:
            break
    assert seen[-1][0] == 503
    assert "is being loaded again after SystemExit: the thread is gone" in seen[-1][1]
    live.wait_until_ready()
    assert httpx2.post(f"{live.url}/score", json=BODY).json()["results"][0]["reward"] == 0.5
