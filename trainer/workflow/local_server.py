"""A reward server of one's own on loopback, as a child process, for as long as a block runs.

In: where its log goes. Out: its URL, once it answers. It knows the server by its command only.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.workflow.children import die_with_parent

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


@contextmanager
def reward_server(log: Path, *options: str) -> Iterator[str]:
    """Start a server on a free port, with these flags of `serve`, yield its URL, stop it.

    Raises:
        RunFailed: it ended or did not answer within a minute; its log says why.
    """
    port = free_port()
    process = start_server(log, port, *options)
    try:
        yield wait_until_ready(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_server(log: Path, port: int, *options: str) -> subprocess.Popen[bytes]:
    """`reward_server serve` on a port of 127.0.0.1, its output appended to `log`."""
    command = [
        sys.executable,
        "-m",
        "touchstone_rewards.reward_server",
        "serve",
        "--host",
        "127.0.0.1",
    ]
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*command, "--port", str(port), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    """The URL of the server, once it can score.

    Raises:
        RunFailed: it ended or did not answer within a minute; its log says why.
    """
    url = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    gives_up_at_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < gives_up_at_s:
        if process.poll() is not None:
            raise RunFailed(f"the reward server ended with {process.returncode}: see {log}")
        try:
            with opener.open(f"{url}/ready", timeout=5):
                return url
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RunFailed(f"the reward server did not answer within {START_TIMEOUT_S:.0f} s: see {log}")
