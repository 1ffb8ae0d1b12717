"""The demo's pretrained model, and a check that this machine has the memory to train it.

The model is fetched once, by `reward-server fetch`. This module does not import torch.
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
SMALL = "`make demo QUICK=1` trains a small model from scratch instead"


def fetched_model() -> Path:
    """Return the model's folder; fetch the model if needed.

    Raises:
        RunFailed: it cannot be fetched.
    """
    folder = fetched_folder(NAME)
    if not (folder / FETCHED_FILE).is_file():
        words = [sys.executable, "-m", "touchstone_rewards.reward_server", "fetch", NAME]
        if subprocess.run(words, check=False).returncode:
            raise RunFailed(f"the model could not be fetched (see above): {SMALL}")
    return folder


def check_memory(free_bytes: int | None) -> None:
    """Check that there is enough memory; an unknown amount passes.

    Raises:
        InputError: there is too little.
    """
    if free_bytes is not None and free_bytes < NEEDED_BYTES:
        raise InputError(
            f"training all of SmolLM2 takes {NEEDED_BYTES / 1e9:.0f} GB of memory, but only "
            f"{free_bytes / 1e9:.1f} GB are free: {SMALL}"
        )


def free_memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the available memory as Linux reports it, at most the container's limit; None if
    unknown."""
    limit = container_limit_bytes(cgroup)
    known = [] if limit is None else [limit]
    if meminfo.is_file():
        lines = meminfo.read_text(encoding="utf-8").splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    return min(known, default=None)
