"""A reward server of this run's own, for as long as a block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchstone_rewards.reward_server.live_server import LiveServer, ServerFailed
from touchstone_rewards.trainer.errors import RunFailed


@contextmanager
def reward_server(log: Path, *options: str) -> Iterator[str]:
    """Start a server on a free port with these flags of `serve`, yield its URL, stop it.

    Raises:
        RunFailed: it ended or was not ready within a minute; the message has the end of its log.
    """
    live = LiveServer(log, *options, dies_with_parent=True)
    try:
        live.start()
    except ServerFailed as error:
        live.stop()
        raise RunFailed(str(error)) from error
    try:
        yield live.url
    finally:
        live.stop()
