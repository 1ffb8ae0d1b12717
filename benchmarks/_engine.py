"""llama.cpp's server with SmolLM2, in the environment made by `tests/engines/make.sh`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from benchmarks import ROOT

SERVER = ROOT / "tests" / "engines" / "serve_llama.py"
MODEL = "smollm2"
PATIENCE_S = 600.0


class EngineMissing(Exception):
    """The engine's environment is missing; the message says how to make it."""


class LlamaServer:
    """The engine as a separate process. `url` is that of its API; a restart keeps the port."""

    def __init__(self, log: Path, threads: int = 1, slots: int = 2) -> None:
        default = Path(tempfile.gettempdir()) / "touchstone_engines"
        self.folder = Path(os.environ.get("TOUCHSTONE_ENGINES", default)) / "llamacpp"
        if not (self.folder / ".made_with").is_file():
            raise EngineMissing(f"no environment {self.folder}: make it with tests/engines/make.sh")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.log, self.words = log, [str(self.port), str(threads), str(slots)]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def version(self) -> str:
        """Return the installed package and version of the engine."""
        made_with = (self.folder / ".made_with").read_text()
        return made_with.split()[0]

    def start(self) -> LlamaServer:
        """Start the engine and wait until it answers.

        Raises:
            RuntimeError: it exited; the message has the end of its log.
            TimeoutError: it did not answer in time.
        """
        with self.log.open("ab") as log:
            words = [str(self.folder / "bin" / "python"), str(SERVER), *self.words]
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        gives_up_at_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < gives_up_at_s:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text(errors="replace")[-2000:])
            try:
                if httpx2.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return self
            except httpx2.TransportError:
                pass
            time.sleep(0.2)
        raise TimeoutError("the engine never answered")

    def kill(self) -> None:
        """Kill the engine as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@contextmanager
def llama_server(log: Path, threads: int = 1, slots: int = 2) -> Iterator[LlamaServer]:
    """Yield a running engine, and stop it afterwards.

    Raises:
        EngineMissing: its environment is missing.
    """
    server = LlamaServer(log, threads, slots)
    try:
        yield server.start()
    finally:
        server.kill()
