"""Run a reward server as a child process on loopback, for tests, benchmarks and workflows.

It uses only the server's command line and the standard library.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 600.0  # generous, for a busy machine; a process that has exited fails at once
STOP_TIMEOUT_S = 60.0
_PARENT_DIED_SIGNAL = 1  # prctl(2): PR_SET_PDEATHSIG


class ServerFailed(Exception):
    """The server exited, or was not ready in time. The message names its log."""


class LiveServer:
    """`reward-server serve` in a child process.

    `log` receives its output, `options` are flags of `serve`. `environment` and `cwd` default to
    those of this process. `module` is the module that `python -m` runs. `dies_with_parent` kills
    the server when the thread that started it ends, also when this process is killed. `restart`
    keeps the port.

    Example:
        >>> with LiveServer(Path("server.log"), "--workers", "2") as server:  # doctest: +SKIP
        ...     RemoteRewardClient(server.url).ready()
        True
    """

    def __init__(
        self,
        log: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        dies_with_parent: bool = False,
        module: str = "touchstone_rewards.reward_server",
    ) -> None:
        self.log = log
        self.options = options
        self.environment = environment
        self.cwd = cwd
        self.dies_with_parent = dies_with_parent
        self.module = module
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, url: str) -> Self:
        """Return a handle on a server that someone else started and stops."""
        live = cls(Path(os.devnull))
        live.url = url
        return live

    def start(self, *, wait: bool = True) -> Self:
        """Start the process and, unless `wait` is False, wait until it is ready to score.

        Raises:
            ServerFailed: it exited or was not ready in time.
        """
        command = [sys.executable, "-m", self.module, "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port), *self.options],
                cwd=self.cwd,
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent() if self.dies_with_parent else None,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until `/ready` answers 200; give up at once if the process has exited.

        Raises:
            ServerFailed: it exited or was not ready in time.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        gives_up_at_s = time.monotonic() + timeout_s
        while time.monotonic() < gives_up_at_s:
            if self.process is not None and self.process.poll() is not None:
                code = self.process.returncode
                raise ServerFailed(f"the reward server ended with {code}: {self._tail()}")
            try:
                with opener.open(f"{self.url}/ready", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise ServerFailed(f"the reward server was not ready in {timeout_s:.0f} s: {self._tail()}")

    def kill(self) -> None:
        """Kill the process with SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=STOP_TIMEOUT_S)

    def stop(self) -> int:
        """Stop the process with SIGTERM and return its exit status; kill it if that takes too
        long."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()

    def restart(self) -> Self:
        """Start the server again on the same port."""
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _tail(self) -> str:
        """Return the log's path and its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return f"see {self.log}\n" + "\n".join(lines)


def free_port() -> int:
    """Return a free port of 127.0.0.1 that no outgoing connection is given.

    The kernel gives those ports from 32768 up: one of them could be taken while a server restarts.
    """
    choose = random.SystemRandom()  # a trainer seeds the shared generator, alike on each rank
    while True:
        port = choose.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def without_settings() -> dict[str, str]:
    """Return this process's environment without `REWARD_*`, which would configure a server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REWARD_")}


def die_with_parent() -> Callable[[], None]:
    """Return a `preexec_fn` with which Linux kills the child when the thread that started it ends.

    It is meant for children that exec another program and share no state with this process.
    """
    libc = ctypes.CDLL(None)

    def ask() -> None:
        if sys.platform == "linux":
            libc.prctl(_PARENT_DIED_SIGNAL, signal.SIGKILL)

    return ask
