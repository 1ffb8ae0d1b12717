"""Real servers on loopback, and the data folder beside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkout import ROOT, live_server
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.models.fetchable import FETCHED_FILE, fetched_folder

# Read when the libraries are imported: no test contacts a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# A request of a test may take a busy machine more than the five seconds that httpx2 waits.
for phase in ("connect", "read", "write", "pool"):
    setattr(httpx2._config.DEFAULT_TIMEOUT_CONFIG, phase, PATIENCE_S)

SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores: tests of servers and trainers often wait."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave long tests out unless LONG is set; begin with the files that have some, so that the
    processes that run the tests end together.
    """
    if not os.environ.get("LONG"):
        skip = pytest.mark.skip(reason="takes long: `make test LONG=1` runs it")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)
    slow = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: (item.path not in slow, "trainer" not in item.path.parts))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """`start_server("--option", "value", REWARD_API_KEY="…")` starts a server and, unless told not
    to, waits until it is ready.
    """
    servers: list[LiveServer] = []

    def start(*options: str, wait: bool = True, **environment: str) -> LiveServer:
        servers.append(live_server(tmp_path / f"server{len(servers)}.log", *options, **environment))
        return servers[-1].start(wait=wait)

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start one server with default settings for all tests that only ask it for scores.

    `TEST_SERVER_URL` names another one to hold to the same tests: that on a cluster, for one.
    """
    if url := os.environ.get("TEST_SERVER_URL"):
        yield LiveServer.at(url)
        return
    live = live_server(tmp_path_factory.mktemp("server") / "log").start()
    yield live
    live.kill()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not there to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ["-subj", "/CN=reward", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*words.split(), *subject, *files], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data sets beside the checkout; without it the test is skipped."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the data folder shared/data beside the checkout is not there")
    return SHARED_DATA


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Return the folder of `reward-server fetch smollm2`; without it the test is skipped."""
    folder = fetched_folder("smollm2")
    if not (folder / FETCHED_FILE).is_file():
        pytest.skip("not on this machine: reward-server fetch smollm2")
    return folder
