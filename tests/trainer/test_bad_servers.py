"""A trainer whose reward server becomes slow or answers nonsense during training."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from tests.trainer.conftest import GrpoFlags
from tests.trainer.grpo.test_command import AtStep, StartServer, build, kept
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.errors import RunFailed

NONSENSE = {
    "html": b"<html>Welcome to nginx!</html>",
    "nothing": b"",
    "no results": b'{"results": [], "profile": "dummy", "fingerprint": "0", "elapsed_ms": 1}',
    "rewards of text": b'{"results": [{"id": "a0/0", "status": "ok", "reward": "high"}]}',
    "another's ids": b'{"results": [{"id": "x", "status": "ok", "reward": 1.0, "scores": {}}]}',
}


@contextmanager
def answering(port: int, status: int, body: bytes, after_s: float = 0.0) -> Iterator[None]:
    """Start a server on `port` that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(after_s)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def replaced(server: LiveServer, status: int, body: bytes, after_s: float = 0.0) -> Callable:
    """Replace the server after the first step, and put ours back after the second."""
    port = int(server.url.rpartition(":")[2])
    stand_in = answering(port, status, body, after_s)

    def act(step: int) -> None:
        if step == 1:
            server.kill()
            stand_in.__enter__()
        if step == 2:
            stand_in.__exit__(None, None, None)
            server.restart()

    return act


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_no_reward_holds_the_weights_and_training_goes_on_after_it(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path, body: bytes
) -> None:
    server = start_server()
    flags = grpo_flags(server.url, max_steps=3, reward_timeout_s=60.0, weight_decay=0.5)
    trainer = build(flags, tmp_path / "samples")
    watch = AtStep(replaced(server, 200, body))
    trainer.add_callback(watch)
    trainer.train()
    statuses = Counter((each.step, each.status) for each in kept(tmp_path))
    assert statuses == {(1, "ok"): 8, (2, "error"): 8, (3, "ok"): 8}
    assert all(each.reward is None for each in kept(tmp_path) if each.step == 2)
    assert torch.equal(watch.weights[1], watch.weights[2])
    assert not torch.equal(watch.weights[2], watch.weights[3])


def test_a_server_that_is_slower_than_the_deadline_is_as_good_as_none(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    server = start_server()
    flags = grpo_flags(server.url, max_steps=3, reward_timeout_s=3.0, weight_decay=0.5)
    trainer = build(flags, tmp_path / "samples")
    watch = AtStep(replaced(server, 200, b"{}", after_s=9.0))
    trainer.add_callback(watch)
    trainer.train()
    assert {each.error["code"] for each in kept(tmp_path) if each.error} == {"unavailable"}
    assert torch.equal(watch.weights[1], watch.weights[2])
    assert not torch.equal(watch.weights[2], watch.weights[3])


def test_nonsense_that_does_not_end_stops_the_run(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    server = start_server()
    fields = {"reward_timeout_s": 60.0, "failed_steps_patience": 2}
    trainer = build(grpo_flags(server.url, max_steps=9, **fields), tmp_path / "samples")
    port = int(server.url.rpartition(":")[2])
    server.kill()
    with answering(port, 200, b"[]"), pytest.raises(RunFailed, match="2 steps in a row"):
        trainer.train()


def test_a_refusal_that_no_retry_can_mend_ends_the_run_at_once_and_says_so(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    server = start_server()
    trainer = build(grpo_flags(server.url, max_steps=9), tmp_path / "samples")
    port = int(server.url.rpartition(":")[2])
    server.kill()
    body = b'{"error": {"code": "unauthorized", "message": "no such key", "request_id": "1"}}'
    with answering(port, 401, body), pytest.raises(RunFailed, match="no such key"):
        trainer.train()
