"""Rewards as plain numbers, for trainers that cannot represent a missing reward.

Each sample gets its reward and a dict of scores with the same keys for every sample. The server is
asked once which fields the profile reads, and only these are sent. A sample without a reward
raises, unless the caller passes a substitute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from uuid import uuid4

from touchstone_rewards.clients.adapters.missing import why_missing
from touchstone_rewards.clients.adapters.plain import plain_sample
from touchstone_rewards.clients.client import AsyncRemoteRewardClient, RemoteRewardClient
from touchstone_rewards.clients.errors import NoReward, UnknownProfile
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import ProfileInfo, Sample

Numbers = tuple[float, dict[str, float]]

# The fields sent to a server that does not report which fields its profiles read.
USUAL = ("response", "ground_truth", "prompt")
# If none of the first samples has a reward, raise even with `null_reward`: the cause is likely a
# misspelt column, and the run would train on the substitute alone.
FIRST_SAMPLES = 64


class _Profile:
    """A profile's description, and whether its first samples got rewards."""

    def __init__(self, info: ProfileInfo) -> None:
        self.info = info
        self.unscored = 0
        self.any_reward = False

    def look(self, results: Sequence[ScoreResult]) -> None:
        """Raise NoReward if none of the first samples has a reward."""
        if self.any_reward:
            return
        self.any_reward = any(result.reward is not None for result in results)
        self.unscored += len(results)
        if not self.any_reward and self.unscored >= FIRST_SAMPLES:
            raise NoReward(
                f"none of the first {self.unscored} samples got a reward from "
                f"{self.info.name!r}: {why_missing(results)}"
            )


_known: dict[tuple[str | None, str], _Profile] = {}


@cache
def async_client_of(url: str | None) -> AsyncRemoteRewardClient:
    """Return this process's asyncio client for a URL. Concurrent calls share its requests."""
    return AsyncRemoteRewardClient(url)


@cache
def client_of(url: str | None) -> RemoteRewardClient:
    """Return this process's client for a URL."""
    return RemoteRewardClient(url)


def rewards_of(
    samples: Sequence[Sample],
    profile: str,
    url: str | None,
    null_reward: float | None,
    own_keys: Iterable[str] = (),
) -> list[Numbers]:
    """Return the reward and the scores of each sample.

    A missing score is NaN. The scores include `no_reward`: 1 for a sample without a reward, whose
    scores are all NaN, else 0. `own_keys` are names of the trainer's own numbers.

    Raises:
        NoReward: a sample has no reward and `null_reward` is None, or none of the first samples has
            a reward.
        ValueError: a scorer has the name of one of the trainer's own numbers.
        RewardClientError: as for `RemoteRewardClient.score`.
    """
    client = client_of(url)
    if (url, profile) not in _known:
        _know(url, profile, client.profiles(), own_keys)
    results = client.score(_sent(samples, url, profile), profile)
    _known[url, profile].look(results)
    return _numbers(results, null_reward)


async def rewards_of_async(
    samples: Sequence[Sample],
    profile: str,
    url: str | None,
    null_reward: float | None,
    own_keys: Iterable[str] = (),
) -> list[Numbers]:
    """Return the reward and the scores of each sample, as `rewards_of` does."""
    client = async_client_of(url)
    if (url, profile) not in _known:
        _know(url, profile, await client.profiles(), own_keys)
    results = await client.score(_sent(samples, url, profile), profile)
    _known[url, profile].look(results)
    return _numbers(results, null_reward)


def _know(
    url: str | None, profile: str, profiles: Sequence[ProfileInfo], own_keys: Iterable[str]
) -> None:
    by_name = {info.name: info for info in profiles}
    if profile not in by_name:
        raise UnknownProfile(
            f"no profile {profile!r} on the server; it has {', '.join(by_name)}", status=404
        )
    taken = {*own_keys, "no_reward"} & {*by_name[profile].scorers}
    if taken:
        raise ValueError(
            f"profile {profile!r} has a scorer called {sorted(taken)[0]!r}, but the trainer has "
            "another number of this name: give the scorer another key in the profile"
        )
    _known[url, profile] = _Profile(by_name[profile])


def _sent(samples: Sequence[Sample], url: str | None, profile: str) -> list[Sample]:
    info = _known[url, profile].info
    plain = [plain_sample(sample, info.reads or USUAL) for sample in samples]
    if info.groups is not None:
        # A trainer gives all responses to a row one id, but a group counts each id once.
        for sample in plain:
            sample.id = f"{sample.id}/{uuid4().hex[:12]}"
    return plain


def _numbers(results: Sequence[ScoreResult], null_reward: float | None) -> list[Numbers]:
    return [(_reward(result, null_reward), _scores(result)) for result in results]


def _reward(result: ScoreResult, null_reward: float | None) -> float:
    if result.reward is not None:
        return result.reward
    if null_reward is None:
        why = f"{result.error.code}: {result.error.message}" if result.error else "no reason given"
        raise NoReward(
            f"sample {result.id} has no reward from profile {result.profile!r}: {why}; "
            "null_reward sets a substitute"
        )
    return float(null_reward)


def _scores(result: ScoreResult) -> dict[str, float]:
    missing = result.reward is None
    scores = {
        name: math.nan if missing or score is None else score
        for name, score in result.scores.items()
    }
    return {**scores, "no_reward": float(missing)}
