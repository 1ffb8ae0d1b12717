"""How many workers a replica may have, so that every deployment finds a place. Pure; no Ray.

In: the CPUs of a cluster and what is to be deployed on it. Out: a number, or why it does not fit:
a replica that finds no place would leave its scorer without an answer.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.errors import ConfigError


def workers_each(
    cpus: int, *, scorers: int, models: int, replicas: int, workers: int, chosen: bool
) -> int:
    """Return the workers of one replica of a scorer.

    `scorers`, `models`: deployments, of each at least `replicas`; a model takes one CPU, a scorer
    as many as it has workers. `workers`: what the operator has `chosen`, else the most there may
    be.

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
            f"{(scorers * least + models) * replicas}: set workers or cluster_min_replicas lower, "
            "leave out profiles, or add nodes"
        )
    return workers if chosen or not scorers else min(workers, for_scorers // (scorers * replicas))
