"""Running normalization of rewards: less their mean, by their standard deviation, as of now.

In: the rewards of one request, before normalization. Out: the same, normalised; the numbers behind
it, one `RunningMoments` a profile, on disk between two runs of the server. It touches no scores.

A request's rewards are counted first and normalised then, all alike, so that within a request
order and ties stay. Evaluation is normalised and not counted. The numbers remember about `MEMORY`
rewards: what is older fades, as the policy that earned it did. They belong to one fingerprint: a
profile that changed begins anew, and a request that began with the old one counts for the old one.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import SampleError, SampleResult
from touchstone_rewards.reward_server.scoring.claim import claim
from touchstone_rewards.reward_server.scoring.combine import Scored

MEMORY = 100_000
# Larger rewards are errors: counted, they would leave nothing of all others but the same number.
LARGEST_REWARD = 1e9

logger = logging.getLogger(__name__)


class RunningMoments(Struct):
    """Mean and variance of the rewards of one fingerprint.

    Source: Welford, "Note on a method for calculating corrected sums of squares and products"
    (1962); with `count` held at `MEMORY` it becomes an exponential average.
    """

    fingerprint: str
    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def count_in(self, rewards: Iterable[float]) -> None:
        for reward in rewards:
            self.count = min(self.count + 1, MEMORY)
            off = reward - self.mean
            self.mean += off / self.count
            self.variance += (off * (reward - self.mean) - self.variance) / self.count

    def validated(self) -> RunningMoments:
        """Return this, if rewards can have led to it.

        Raises:
            ValueError: they cannot.
        """
        sound = (
            0 <= self.count <= MEMORY
            and abs(self.mean) <= LARGEST_REWARD
            and 0 <= self.variance <= LARGEST_REWARD**2
        )
        if not sound:
            raise ValueError(f"no rewards come to {self}")
        return self

    def normalised(self, reward: float) -> float:
        """In standard deviations from the mean; the mere difference while all were the same."""
        return (reward - self.mean) / (math.sqrt(self.variance) or 1.0)


class Normalizers:
    """The running numbers by profile and fingerprint. What the profiles of now have is kept in
    `folder`; without one it ends with the process."""

    def __init__(self, folder: Path | None = None) -> None:
        self.state_dir = folder
        self.folder = folder / "normalization" if folder else None
        self._claim: int | None = None
        self.running: dict[tuple[str, str], RunningMoments] = {}
        self._saved: dict[str, bytes] = {}
        self._one_at_a_time = Lock()

    def load(self, profiles: Mapping[str, Profile]) -> None:
        """Take up what the last run left of these profiles, unless it is known already.

        Raises:
            ConfigError: what it left cannot be read, or not be set aside where it is no state, or
                the folder is another server's.
        """
        if self.state_dir is not None and self._claim is None:
            try:
                self._claim = claim(self.state_dir / ".lock", f"state_dir {self.state_dir}")
            except OSError as error:
                raise ConfigError(f"state_dir {self.state_dir}: {error.strerror}") from error
        for name, profile in profiles.items():
            path = self.folder / f"{name}.json" if self.folder else None
            if profile.config.normalization == "none" or _key(profile) in self.running:
                continue
            if path is None:
                logger.warning("profile %s: no state_dir, so a restart forgets its rewards", name)
            elif path.exists() and (running := _read(path)) is not None:
                self.running.setdefault((name, running.fingerprint), running)

    def close(self) -> None:
        """Let go of the folder."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def of(self, profile: Profile) -> RunningMoments:
        """The numbers of the profile; empty ones, which are not kept, where nothing was learned."""
        return self.running.get(_key(profile)) or RunningMoments(profile.fingerprint)

    def apply(self, profile: Profile, results: Sequence[SampleResult], *, learn: bool) -> None:
        """Normalise the rewards of `results` in place; with `learn`, count them first.

        One reward too large to count would make all later ones alike: it becomes an error.
        """
        running = self.of(profile)
        for result in results:
            if result.reward is not None and abs(result.reward) > LARGEST_REWARD:
                result.status, result.error = "error", _too_large(result.reward)
                result.reward = None
        if learn:
            self.running[_key(profile)] = running
            running.count_in(each.reward for each in results if each.reward is not None)
        for result in results:
            if result.reward is not None:
                result.reward = running.normalised(result.reward)

    def unsaved(self, profiles: Mapping[str, Profile]) -> dict[str, bytes]:
        """What `save` has to write: the numbers that these profiles have now."""
        if self.folder is None:
            return {}
        now = {
            name: msgspec.json.encode(self.running[_key(profile)])
            for name, profile in profiles.items()
            if _key(profile) in self.running
        }
        return {name: content for name, content in now.items() if self._saved.get(name) != content}

    def save(self, contents: Mapping[str, bytes]) -> None:
        """Write what `unsaved` gave, each file whole or not at all; it may run in a thread."""
        if self.folder is None:
            return
        with self._one_at_a_time:
            for name, content in contents.items():
                try:
                    _replace(self.folder / f"{name}.json", content)
                    self._saved[name] = content
                except OSError as error:
                    logger.error("running normalization of %s is not saved: %s", name, error)


def finished(normalizers: Normalizers, profile: Profile, scored: Scored, *, learn: bool) -> Scored:
    """Return what was scored, from the sum of the scores to the reward: normalised, then clipped.

    `learn`: count the rewards for the running normalization first.
    """
    config, results = profile.config, scored.results
    if config.normalization == "none" and config.clip is None:
        return scored
    if config.normalization != "none":
        normalizers.apply(profile, results, learn=learn)
    if config.clip is not None:
        for result in results:
            if result.reward is not None:
                result.reward = profile.clipped(result.reward)
    rewards = [result.reward for result in results]
    errors = [result.error.code for result in results if result.error is not None]
    return scored._replace(columns=scored.columns._replace(rewards=rewards, errors=errors))


def _key(profile: Profile) -> tuple[str, str]:
    return profile.name, profile.fingerprint


def _too_large(reward: float) -> SampleError:
    return sample_error(
        "scorer_failed",
        f"the reward {reward:g} is beyond {LARGEST_REWARD:g}, too large to normalise; give the "
        "scorer a range",
    )


def _read(path: Path) -> RunningMoments | None:
    """What an earlier run left. A file that cannot be is set aside, and the numbers begin anew.

    Raises:
        ConfigError: it cannot be read at all, or not be set aside.
    """
    try:
        content = path.read_bytes()
        try:
            return msgspec.json.decode(content, type=RunningMoments).validated()
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            aside = path.with_name(f"{path.name}.bad-{time.time_ns()}")
            path.replace(aside)
            logger.warning(
                "%s is not what a server wrote (%s): it is now %s, and the running normalization "
                "begins anew",
                path,
                error,
                aside.name,
            )
            return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
