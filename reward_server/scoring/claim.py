"""One server a folder: what a server writes alone it claims first, and a second one is refused.

The claim is a lock that the kernel lets go of when the process ends, however it ends. The processes
of one server share it: they bear the same `server_id`.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from uuid import uuid4

from touchstone_rewards.reward_server.errors import ConfigError

# How long another process may take to write down whose the folder is.
WRITING_S, LOOK_EVERY_S = 2.0, 0.01
_ours = uuid4().hex


def belong_to(server_id: str) -> None:
    """Make this process one of the server `server_id`; without it, it is a server by itself."""
    global _ours
    _ours = server_id


def claim(path: Path, what: str) -> int:
    """Claim `what` by locking the file at `path`; close the descriptor to let go.

    Raises:
        ConfigError: another server has it.
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    gives_up_at_s = time.monotonic() + WRITING_S
    while True:
        if _locked(file, fcntl.LOCK_EX):
            os.ftruncate(file, 0)
            os.pwrite(file, _ours.encode(), 0)
        # Whoever is first shares what it has: the other processes of its server find its name.
        if _locked(file, fcntl.LOCK_SH):
            if os.pread(file, 4096, 0).decode(errors="replace") == _ours:
                return file
            break
        if time.monotonic() > gives_up_at_s:
            break
        time.sleep(LOOK_EVERY_S)
    os.close(file)
    raise ConfigError(f"{what} is another server's, which still runs; give each server its own")


def _locked(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
