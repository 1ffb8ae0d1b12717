"""`reward-server serve` as a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from touchstone_rewards.reward_server.scorers.plugins import Plugins

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = Plugins(("tests", "benchmarks"))


class LiveServer:
    """`reward-server serve` as a process of its own; `restart` keeps the port."""

    def __init__(self, log: Path, *options: str, **environment: str) -> None:
        self.log = log
        self.options = options
        self.environment = environment
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, url: str) -> LiveServer:
        """A server that runs already, and that someone else ends."""
        live = cls(Path(os.devnull))
        live.url = url
        return live

    def start(self, *, wait: bool = True) -> LiveServer:
        command = [
            sys.executable,
            "-m",
            "touchstone_rewards.reward_server",
            "serve",
            "--port",
            str(self.port),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", "2", *self.options],
                cwd=ROOT,
                env={**clean_environment(), **self.environment},
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            try:
                if httpx2.get(f"{self.url}/ready", timeout=2).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        raise TimeoutError(f"not ready after {timeout_s} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """`kill -9`: no goodbye."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def restart(self) -> LiveServer:
        return self.start()


def run_command(*words: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """A command of `reward-server` to its end, and what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "touchstone_rewards.reward_server", *map(str, words)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment() -> dict[str, str]:
    """This process's environment without settings that would leak into a server under test.

    Profiles under test may name scorers of the tests and of the benchmarks.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REWARD_")}
    return {**kept, "REWARD_SCORER_MODULES": ",".join(PLUGINS.modules)}
