"""Memory limits are added up and checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.waiting import wait_until
from touchstone_rewards.reward_server.container import container_limit_bytes, fit_memory
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import Settings

GIB = 2**30


def test_what_fits_is_left_alone() -> None:
    settings = Settings(workers=2)
    assert fit_memory(settings, None) is settings
    assert fit_memory(settings, 8 * GIB) is settings


def test_the_workers_share_follows_the_limit_where_nobody_chose_it() -> None:
    fitted = fit_memory(Settings(workers=2), 4 * GIB)
    assert fitted.worker_memory_bytes * 3 + 768 * 2**20 <= 4 * GIB
    assert fitted.worker_memory_bytes > GIB


def test_what_was_chosen_and_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(ConfigError, match=r"worker_memory_bytes may be 1163220309 at most"):
        fit_memory(Settings(workers=2, worker_memory_bytes=2 * GIB), 4 * GIB)
    with pytest.raises(ConfigError, match="lower workers"):
        fit_memory(Settings(workers=64), 4 * GIB)


@pytest.mark.parametrize(
    ("name", "said", "limit"),
    [
        ("memory.max", "4294967296\n", 4 * GIB),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "4294967296\n", 4 * GIB),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "", None),
    ],
)
def test_the_limit_is_read_as_the_kernel_says_it(
    tmp_path: Path, name: str, said: str, limit: int | None
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(said)
    assert container_limit_bytes(tmp_path) == limit


def test_ready_and_the_log_say_since_when_and_where(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server()
    said = httpx2.get(f"{live.url}/ready").json()
    assert said["url"] == live.url
    assert said["ready_since"].startswith("20")
    assert said["ready_since"].endswith("+00:00")
    wait_until(lambda: f"ready on {live.url} after" in live.log.read_text())
    assert httpx2.get(f"{live.url}/health").json() == {"status": "ok"}
