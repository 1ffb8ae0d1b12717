"""Results as the flat dicts of numbers that trainers without a None want. Pure but for the cache.

In: a client's results. Out: one dict of floats a sample, the same keys for every sample. A sample
without a reward raises, unless the caller chose a number for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from touchstone_rewards.clients.client import RemoteRewardClient
from touchstone_rewards.clients.errors import RewardClientError
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import Sample


class NoReward(RewardClientError):
    """A sample could not be scored, and no `null_reward` was chosen to stand for that."""


@cache
def client_of(url: str | None) -> RemoteRewardClient:
    """One client a process and URL: calls that wait at the same time share requests."""
    return RemoteRewardClient(url)


def rewards_of(
    samples: Sequence[Sample], profile: str, url: str | None, null_reward: float | None
) -> list[tuple[float, dict[str, float]]]:
    """The reward and the scores of each sample. A score that is missing is NaN, and so is every
    score of a sample without a reward; `no_reward` beside them is 1 for it, else 0.

    Raises:
        NoReward: a sample has none and `null_reward` is None.
        RewardClientError: no answer came, as `RemoteRewardClient.score` says.
    """
    results = client_of(url).score(samples, profile)
    return [(_reward(result, null_reward), _scores(result)) for result in results]


def _reward(result: ScoreResult, null_reward: float | None) -> float:
    if result.reward is not None:
        return result.reward
    if null_reward is None:
        why = f"{result.error.code}: {result.error.message}" if result.error else "no reason given"
        raise NoReward(
            f"sample {result.id} has no reward from profile {result.profile!r}: {why}; "
            "set null_reward to have a number stand for that"
        )
    return float(null_reward)


def _scores(result: ScoreResult) -> dict[str, float]:
    missing = result.reward is None
    scores = {
        name: math.nan if missing or score is None else score
        for name, score in result.scores.items()
    }
    return {**scores, "no_reward": float(missing)}
