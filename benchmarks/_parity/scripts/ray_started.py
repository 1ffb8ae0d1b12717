"""Start a small Ray on this machine, with retries: a busy machine exceeds Ray's limit of 30 s."""

from __future__ import annotations

import os
from typing import Any

import ray

PASSED = ("PYTHONPATH", "PARITY_TASK", "PARITY_FOUND", "PARITY_ABSENT", "OMP_NUM_THREADS")
TRIES = 8


def start_ray() -> None:
    """Start Ray; its actors inherit the variables of a script."""
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
