"""A server in an environment of its own: started, waited for, ended with all its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2

from tests.waiting import PATIENCE_S


class Served(NamedTuple):
    """A server that answers. `group`: its process group."""

    url: str
    group: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it as a crash would."""
        os.killpg(self.group, signal.SIGKILL)


def environments() -> Path:
    """Return the folder with the environments of engines."""
    default = Path(tempfile.gettempdir()) / "touchstone_engines"
    return Path(os.environ.get("TOUCHSTONE_ENGINES", default))


@contextmanager
def served(
    words: Sequence[str | Path],
    folder: Path,
    log: Path,
    env: Mapping[str, str],
    alive: str,
    port: int | None = None,
) -> Iterator[Served]:
    """Run `words` with a free port, or this one, in place of PORT; wait until the path `alive`
    answers 200.

    Raises:
        RuntimeError: it ended instead, with what it said.
        TimeoutError: it never answered.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = port or int(found.getsockname()[1])
    command = [str(port) if word == "PORT" else str(word) for word in words]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **env},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    server = Served(f"http://127.0.0.1:{port}", process.pid)
    try:
        gives_up_at_s = time.monotonic() + PATIENCE_S
        while not _answers(server.url + alive):
            if process.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
            if time.monotonic() > gives_up_at_s:
                raise TimeoutError("the engine never answered")
            time.sleep(0.5)
        yield server
    finally:
        if process.poll() is None:
            server.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
