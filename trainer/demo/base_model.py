"""The pretrained model of the demo, and whether this machine can train it. No torch.

In: nothing, or what the system says of its memory. Out: the folder that `reward-server fetch` left;
it is fetched once, by that very command.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from touchstone_rewards.reward_server.container import container_limit_bytes
from touchstone_rewards.reward_server.models.fetchable import FETCHED_FILE, fetched_folder
from touchstone_rewards.trainer.errors import InputError, RunFailed

NAME = "smollm2"
WHOLE_NAME = "SmolLM2-135M-Instruct"
NEEDED_BYTES = 5 * 10**9  # weights, gradients and Adam's moments in float32, and a batch
SMALL = "`make demo QUICK=1` trains a small model that is made on the spot"


def fetched_model() -> Path:
    """Return the model's folder; what is not there yet is fetched.

    Raises:
        RunFailed: it cannot be fetched.
    """
    folder = fetched_folder(NAME)
    if not (folder / FETCHED_FILE).is_file():
        words = [sys.executable, "-m", "touchstone_rewards.reward_server", "fetch", NAME]
        if subprocess.run(words, check=False).returncode:
            raise RunFailed(f"the model could not be fetched, as said above: {SMALL}")
    return folder


def check_memory(free_bytes: int | None) -> None:
    """Return if there is enough, or if no one can say.

    Raises:
        InputError: there is not.
    """
    if free_bytes is not None and free_bytes < NEEDED_BYTES:
        raise InputError(
            f"training all of SmolLM2 takes {NEEDED_BYTES / 1e9:.0f} GB of memory, and "
            f"{free_bytes / 1e9:.1f} GB are free here: {SMALL}"
        )


def free_memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """What programs may still take, as Linux says, at most what the container allows; None where
    neither is known."""
    limit = container_limit_bytes(cgroup)
    known = [] if limit is None else [limit]
    if meminfo.is_file():
        lines = meminfo.read_text(encoding="utf-8").splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    return min(known, default=None)
