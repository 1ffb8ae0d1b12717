"""The repository's compose stack under a name, a key and ports of its own.

Out: a `Stack` that runs compose's commands, or None where it cannot. It waits and asks; what
must hold is the tests' to say.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT
from touchstone_rewards.reward_server.live_server import free_port


def compose_command() -> list[str] | None:
    """Return the words `docker compose` if there is a plugin, else `docker-compose`, else None."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if not shutil.which(command[0]):
            continue
        if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


def engine_answers() -> bool:
    """Tell whether a Docker engine answers."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def compose_or_skip(*, engine: bool = False) -> list[str]:
    """Return the words of compose; without it, or without an engine if one is needed, the test is
    skipped.
    """
    if engine and not engine_answers():
        pytest.skip("no Docker engine answers on this machine")
    compose = compose_command()
    if compose is None:
        pytest.skip("neither `docker compose` nor docker-compose is installed")
    return compose


def environment(**settings: str) -> dict[str, str]:
    """Return the values that compose substitutes: key and ports of this run, wheels from the folder
    only.
    """
    # The builder that every engine has; BuildKit's needs a plugin that some lack.
    fixed = {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0", "PIP_NO_INDEX": "1"}
    return {**os.environ, **fixed, **settings}


@dataclass
class Stack:
    """One run of the stack. `settings`: lines of `.env` beside the key and the port."""

    compose: list[str]
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    project: str = field(default_factory=lambda: f"touchstone-test-{secrets.token_hex(4)}")
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str) -> str:
        """Run a command of compose in this project and return its output."""
        done = subprocess.run(
            [*self.compose, "-p", self.project, *words],
            cwd=ROOT,
            env=environment(
                **{**self.settings, "REWARD_API_KEY": self.key, "PORT": str(self.port)}
            ),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"compose {' '.join(words)}: {done.stderr[-3000:]}"
        return done.stdout

    def container(self, service: str) -> str:
        """Return the id of the service's container."""
        return self("ps", "-q", service).strip() or self("ps", "-a", "-q", service).strip()

    def state(self, service: str) -> dict[str, Any]:
        """Return the engine's description of the service's container."""
        return json.loads(docker("inspect", self.container(service)))[0]

    def copy_out(self, service: str, path: str, to: Path) -> None:
        """Copy a folder out of a container, running or ended."""
        docker("cp", f"{self.container(service)}:{path}", str(to))


def docker(*words: str) -> str:
    """Run a command of docker and return its output."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def fails(*words: str) -> bool:
    """Tell whether this command of docker fails."""
    return subprocess.run(["docker", *words], capture_output=True).returncode != 0


def wait_for(what: Callable[[], object], within_s: float, name: str) -> None:
    """Wait until `what` is true.

    Raises:
        TimeoutError: it was not, for so long.
    """
    gives_up_at_s = time.monotonic() + within_s
    while not what():
        if time.monotonic() > gives_up_at_s:
            raise TimeoutError(f"{name}: not within {within_s:.0f} s")
        time.sleep(1.0)
