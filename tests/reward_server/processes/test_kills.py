"""A process of `serve --processes 2` is killed under load, and a retry gets every reward.

With TLS, with a local model and with a judge behind an endpoint, and the first process, which holds
the latter two, as well as the other.
"""

from __future__ import annotations

import http.client
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.reward_server.models import tiny
from tests.reward_server.processes.callers import Caller
from tests.reward_server.remote.engine_process import EngineProcess, judged_by
from tests.waiting import wait_until
from touchstone_rewards.reward_server.live_server import LiveServer

CALLERS = 6
StartServer = Callable[..., LiveServer]
pytestmark = pytest.mark.parametrize("killed", [0, 1], ids=["the_first", "the_other"])


class Load(NamedTuple):
    """The server to call and its samples by number, one per request; `asked`: the samples that are
    sent; and the certificate to trust over TLS.
    """

    server: LiveServer
    profile: str
    asked: int
    sample: Callable[[int], dict[str, Any]]
    ca_file: Path | None = None

    def caller(self) -> Caller:
        return Caller(self.server, ca_file=self.ca_file)

    def ready(self) -> bool:
        try:
            return self.caller().ask("GET", "/ready")[0] == 200
        except OSError:
            return False


def serving(server: LiveServer) -> list[psutil.Process]:
    """Return the processes that serve, in the order in which they were started."""
    assert server.process is not None
    found = psutil.Process(server.process.pid).children()
    return sorted(found, key=lambda each: (each.create_time(), each.pid))


def ask_until_answered(load: Load, first: int, found: dict[int, float | None]) -> None:
    """Request every sixth sample; retry when the connection or the process is lost."""
    caller = load.caller()
    for number in range(first, load.asked, CALLERS):

        def answered(number: int = number) -> bool:
            nonlocal caller
            try:
                status, answer = caller.score(load.profile, load.sample(number))
            except (OSError, http.client.HTTPException):
                caller = load.caller()
                return False
            if status == 200:
                found[number] = answer["results"][0]["reward"]
            return status == 200

        wait_until(answered)


def scored_under_a_kill(load: Load, killed: int) -> dict[int, float | None]:
    """Return the rewards of all samples when a process is killed after the first sixth; check that
    it is started again, and that all processes end.
    """
    found: dict[int, float | None] = {}
    asking = [
        threading.Thread(target=ask_until_answered, args=(load, first, found))
        for first in range(CALLERS)
    ]
    for thread in asking:
        thread.start()
    wait_until(lambda: len(found) > load.asked // 6)
    before = serving(load.server)
    before[killed].send_signal(signal.SIGKILL)
    for thread in asking:
        thread.join()
    wait_until(lambda: len(serving(load.server)) == 2 and serving(load.server) != before)
    wait_until(load.ready)
    assert load.server.stop() == 0
    return found


def boxed(number: int) -> dict[str, Any]:
    return {"id": str(number), "response": f"\\boxed{{{number % 2}}}", "ground_truth": "1"}


def test_plain(killed: int, start_server: StartServer) -> None:
    load = Load(start_server("--processes", "2"), "math", 1200, boxed)
    found = scored_under_a_kill(load, killed)
    assert found == {number: float(number % 2) for number in range(1200)}


def test_over_tls(killed: int, start_server: StartServer, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    options = ["--processes", "2", "--tls_cert", str(cert), "--tls_key", str(key)]
    load = Load(start_server(*options, wait=False), "math", 1200, boxed, cert)
    wait_until(load.ready)
    found = scored_under_a_kill(load, killed)
    assert found == {number: float(number % 2) for number in range(1200)}


@pytest.mark.long
def test_with_a_local_model(killed: int, start_server: StartServer, tmp_path: Path) -> None:
    tiny.classifier(tmp_path / "model")
    (tmp_path / "profiles").mkdir()
    config = f"{{model: {tmp_path}/model, dtype: float32, device: cpu}}"
    profile = f"scorers: {{reward_model: {{config: {config}}}}}"
    (tmp_path / "profiles" / "model.yaml").write_text(profile)
    server = start_server("--processes", "2", "--profiles_dir", str(tmp_path / "profiles"))
    samples = [
        {"id": str(at), "prompt": "Tell me", "response": " ".join(tiny.WORDS[: at % 20 + 1])}
        for at in range(300)
    ]
    _, answer = Caller(server).score("model", *samples)
    expected = [result["reward"] for result in answer["results"]]
    assert len(set(expected)) > 10
    found = scored_under_a_kill(Load(server, "model", 300, samples.__getitem__), killed)
    assert [found[at] for at in range(300)] == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    process = EngineProcess()
    process.start()
    yield process
    process.kill()


def test_with_a_judge(
    killed: int, start_server: StartServer, engine: EngineProcess, tmp_path: Path
) -> None:
    server = judged_by(start_server, tmp_path, engine.port, "--processes", "2", deadline_s=600)
    found = scored_under_a_kill(Load(server, "judged", 300, boxed), killed)
    assert found == dict.fromkeys(range(300), 1.0)
