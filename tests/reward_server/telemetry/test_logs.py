"""Events that the server's log leaves out."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from touchstone_rewards.reward_server.telemetry.logs import configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, calls = logging.getLogger(), logging.getLogger("httpx2")
    handlers, level, calls_level = list(root.handlers), root.level, calls.level
    root.handlers.clear()  # else the ones that are there are closed
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    calls.setLevel(calls_level)


@pytest.mark.parametrize(("level", "told"), [("debug", True), ("info", False), ("error", False)])
def test_each_call_of_an_endpoint_is_a_line_at_debug_only(level: str, told: bool) -> None:
    configure(level, "text")
    assert logging.getLogger("httpx2").isEnabledFor(logging.INFO) is told
    mine = "touchstone_rewards.reward_server.requests"
    assert logging.getLogger(mine).isEnabledFor(logging.INFO) is (level != "error")
