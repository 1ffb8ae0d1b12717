"""Fit the memory settings into the container's limit.

The kernel kills a container that exceeds its memory limit, and the server with it. So the memory
that the server and its workers may use together is compared with the limit before anything starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profile_config import read_config
from touchstone_rewards.reward_server.settings import LEAST_WORKER_BYTES, Settings

# The server itself under full load, without models: pending bodies, samples, caches.
SERVER_BYTES = 768 * 2**20
# Spare workers that are kept ready beside `workers`.
SPARE_WORKERS = 1
LIMIT_FILES = ("memory.max", "memory/memory.limit_in_bytes")

logger = logging.getLogger(__name__)


def container_limit_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the memory limit of this container in bytes; None if there is none."""
    for name in LIMIT_FILES:
        try:
            said = (cgroup / name).read_text().strip()
        except OSError:
            continue
        # cgroups v1 writes "no limit" as a number larger than any memory.
        return int(said) if said.isdigit() and int(said) < 2**60 else None
    return None


def fit_memory(settings: Settings, limit_bytes: int | None, own_workers: int = 0) -> Settings:
    """Return the settings, with `worker_memory_bytes` lowered to fit unless the operator chose it.

    `own_workers`: workers that profiles reserve for single scorers, spare ones included.

    Raises:
        ConfigError: the chosen value does not fit, or no value does.
    """
    processes = settings.processes
    spare = SPARE_WORKERS * processes
    workers = max(settings.workers, processes) + spare + own_workers * processes
    server_bytes = SERVER_BYTES * processes
    needed = server_bytes + workers * settings.worker_memory_bytes
    if limit_bytes is None or needed <= limit_bytes:
        return settings
    fits = (limit_bytes - server_bytes) // workers
    more = f", and {own_workers * processes} in scorers' own pools," if own_workers else ""
    spare_said = "a spare one" if processes == 1 else f"{spare} spare ones"
    each_mib = settings.worker_memory_bytes >> 20
    asked = workers - spare - own_workers * processes
    said = (
        f"{asked} workers and {spare_said}{more} of {each_mib} MiB and "
        f"{server_bytes >> 20} MiB for the server are more than the container's "
        f"{limit_bytes >> 20} MiB"
    )
    if fits < LEAST_WORKER_BYTES:
        raise ConfigError(f"{said}; lower workers or raise the limit")
    if "worker_memory_bytes" in settings.model_fields_set:
        raise ConfigError(f"{said}; worker_memory_bytes may be {fits} at most")
    logger.info("%s: worker_memory_bytes is lowered to %d", said, fits)
    return settings.model_copy(update={"worker_memory_bytes": fits})


def own_workers(directories: Iterable[Path]) -> int:
    """Return how many workers the profiles reserve for single scorers, one spare each included.

    Raises:
        ConfigError: a profile cannot be read.
    """
    paths = [path for directory in directories for path in sorted(directory.glob("*.yaml"))]
    configs = [read_config(path) for path in paths]
    specs = {
        spec.key: spec
        for config in configs
        for key, entry in config.scorers.items()
        if (spec := entry.spec(key)).workers
    }
    return sum(spec.workers + 1 for spec in specs.values())
