"""Compute how many workers a replica may have so that every deployment can be placed. No Ray.

A replica that cannot be placed would leave its scorer without an answer.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.errors import ConfigError


def workers_each(
    cpus: int, *, scorers: int, models: int, replicas: int, workers: int, chosen: bool
) -> int:
    """Return the number of workers of one replica of a scorer.

    `scorers`, `models`: numbers of deployments, each with at least `replicas`; a model takes one
    CPU, a scorer one per worker. `workers`: the number if the operator has `chosen` it, otherwise
    the largest number to return.

    >>> workers_each(8, scorers=2, models=1, replicas=1, workers=8, chosen=False)
    3

    Raises:
        ConfigError: they do not fit.
    """
    for_scorers = cpus - models * replicas
    least = workers if chosen else 1
    if for_scorers < scorers * replicas * least:
        raise ConfigError(
            f"the cluster has {cpus} CPUs, but {scorers} scorers of {least} workers and {models} "
            f"models of 1 CPU, {replicas} replicas of each, take "
            f"{(scorers * least + models) * replicas}: lower workers or cluster_min_replicas, "
            "leave out profiles, or add nodes"
        )
    return workers if chosen or not scorers else min(workers, for_scorers // (scorers * replicas))
