"""The checkout's folder, a way to run its commands, and its server for tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer, without_settings
from touchstone_rewards.reward_server.scorers.plugins import Plugins

ROOT = Path(__file__).resolve().parents[1]
# Profiles under test may name scorers of the tests and of the benchmarks.
PLUGINS = Plugins(("tests", "benchmarks"))


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings that would reach a server under test."""
    return {**without_settings(), "REWARD_SCORER_MODULES": ",".join(PLUGINS.modules)}


def run_command(*words: object, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run a command of `reward-server` to its end, and return its output."""
    return subprocess.run(
        [sys.executable, "-m", "touchstone_rewards.reward_server", *map(str, words)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def live_server(log: Path, *options: str, **environment: str) -> LiveServer:
    """Make a server with two workers, not yet started; no setting of this process reaches it."""
    settings = {**clean_environment(), **environment}
    return LiveServer(log, "--workers", "2", *options, environment=settings, cwd=ROOT)


def linked_checkout(folder: Path, *parts: str) -> Path:
    """Link parts of the checkout in `folder`, and this environment as one that make has made.

    So a target of the Makefile runs as typed, writes into `folder`, and installs nothing anew.
    """
    for part in parts:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).symlink_to(ROOT / part)
    (folder / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        if (Path(sys.prefix) / part).exists():
            (folder / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    for name in (".installed", ".server"):
        (folder / ".venv" / name).touch()
    return folder
