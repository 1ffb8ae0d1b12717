"""Ray on this machine, small: it gives its own node 30 s to start, which a busy machine exceeds."""

from __future__ import annotations

import os
from typing import Any

import ray  # pyright: ignore[reportMissingImports]

PASSED = ("PYTHONPATH", "PARITY_TASK", "PARITY_FOUND", "PARITY_ABSENT", "OMP_NUM_THREADS")
TRIES = 8


def start_ray() -> None:
    """Start Ray; its actors get what a script here is given."""
    init: Any = ray.init
    for left in range(TRIES, 0, -1):
        try:
            init(
                num_cpus=2,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=200 << 20,
                log_to_driver=False,
                runtime_env={"env_vars": {name: os.environ[name] for name in PASSED}},
            )
        except Exception:
            ray.shutdown()
            if left == 1:
                raise
        else:
            return
