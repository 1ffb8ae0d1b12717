"""A caller's input cannot fill the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.telemetry.logs import (
    MOST_MESSAGE_CHARS,
    JsonFormatter,
    TextFormatter,
)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_message_is_shown_by_its_ends(formatter: logging.Formatter) -> None:
    long = "a" * 5_000_000 + "z"
    record = logging.LogRecord("x", logging.WARNING, "", 0, "sample %r failed", (long,), None)
    line = formatter.format(record)
    assert len(line) < MOST_MESSAGE_CHARS + 200
    assert "sample" in line
    assert "az" in line


def test_a_large_id_of_a_sample_that_ends_its_worker_is_cut_in_the_log(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    scorer = "tests.reward_server.hostile_scorers:Hostile"
    (tmp_path / "hostile.yaml").write_text(f"scorers: {{x: {{scorer: '{scorer}'}}}}\n")
    live = start_server("--profiles_dir", str(tmp_path))
    sample = {"id": "i" * 5_000_000, "response": "1", "ground_truth": "segfault"}
    body = {"profile": "hostile", "samples": [sample]}
    answer = httpx2.post(f"{live.url}/score", json=body).json()
    assert answer["results"][0]["error"]["code"] == "worker_lost"
    assert 0 < live.log.stat().st_size < 100_000
