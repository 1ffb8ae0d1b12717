"""Claim a folder for one server, so that a second server is refused.

The claim is a file lock, which the kernel releases when the process ends for any reason. The
processes of one server share it: they have the same `server_id`.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from uuid import uuid4

from touchstone_rewards.reward_server.errors import ConfigError

# How long another process may take between locking the file and writing its server id.
WRITING_S, LOOK_EVERY_S = 2.0, 0.01
_ours = uuid4().hex


def belong_to(server_id: str) -> None:
    """Make this process part of the server `server_id`; by default it is a server of its own."""
    global _ours
    _ours = server_id


def claim(path: Path, what: str) -> int:
    """Claim `what` by locking the file at `path`; close the returned descriptor to release it.

    Raises:
        ConfigError: another server holds it.
        OSError: the file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    gives_up_at_s = time.monotonic() + WRITING_S
    while True:
        if _locked(file, fcntl.LOCK_EX):
            os.ftruncate(file, 0)
            os.pwrite(file, _ours.encode(), 0)
        # The first process downgrades its lock to a shared one, so that its siblings can join.
        if _locked(file, fcntl.LOCK_SH):
            if os.pread(file, 4096, 0).decode(errors="replace") == _ours:
                return file
            break
        if time.monotonic() > gives_up_at_s:
            break
        time.sleep(LOOK_EVERY_S)
    os.close(file)
    raise ConfigError(f"{what} is in use by another server; give each server its own")


def _locked(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
