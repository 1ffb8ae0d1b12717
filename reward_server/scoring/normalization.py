"""Running reward normalization: (r - mean) / std over the rewards seen so far.

It normalizes the rewards of one request, and saves one `RunningMoments` per profile between two
runs of the server. Scores stay as they are.

All rewards of a request are counted first and then normalized alike, so that order and ties within
a request are kept. Evaluation requests are normalized but not counted. The statistics cover about
the last `MEMORY` rewards: older ones fade, as the policy that earned them did. They belong to one
fingerprint: a changed profile starts anew, and a request that began with the old profile counts
for the old one.
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
# Larger rewards are errors: counted, one would make all other rewards normalize to one number.
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
        """Return this object if rewards can have produced it.

        Raises:
            ValueError: they cannot.
        """
        sound = (
            0 <= self.count <= MEMORY
            and abs(self.mean) <= LARGEST_REWARD
            and 0 <= self.variance <= LARGEST_REWARD**2
        )
        if not sound:
            raise ValueError(f"no rewards can produce {self}")
        return self

    def normalised(self, reward: float) -> float:
        """Return (reward - mean) / std; only the difference while all rewards were the same."""
        return (reward - self.mean) / (math.sqrt(self.variance) or 1.0)


class Normalizers:
    """The running statistics by profile and fingerprint. Those of the current profiles are saved in
    `folder`; without one they end with the process."""

    def __init__(self, folder: Path | None = None) -> None:
        self.state_dir = folder
        self.folder = folder / "normalization" if folder else None
        self._claim: int | None = None
        self.running: dict[tuple[str, str], RunningMoments] = {}
        self._saved: dict[str, bytes] = {}
        self._one_at_a_time = Lock()

    def load(self, profiles: Mapping[str, Profile]) -> None:
        """Load the saved statistics of these profiles, unless they are already known.

        Raises:
            ConfigError: a file cannot be read, an invalid one cannot be renamed, or another server
                uses the folder.
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
        """Release the folder."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def of(self, profile: Profile) -> RunningMoments:
        """Return the statistics of the profile; new ones, not kept, if nothing was counted."""
        return self.running.get(_key(profile)) or RunningMoments(profile.fingerprint)

    def apply(self, profile: Profile, results: Sequence[SampleResult], *, learn: bool) -> None:
        """Normalize the rewards of `results` in place; with `learn`, count them first.

        A reward too large to count would make all later ones alike, so it becomes an error.
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
        """Return the statistics of these profiles that `save` still has to write."""
        if self.folder is None:
            return {}
        now = {
            name: msgspec.json.encode(self.running[_key(profile)])
            for name, profile in profiles.items()
            if _key(profile) in self.running
        }
        return {name: content for name, content in now.items() if self._saved.get(name) != content}

    def save(self, contents: Mapping[str, bytes]) -> None:
        """Write the output of `unsaved`, each file atomically; may run in a thread."""
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
    """Return the final rewards from the weighted sums: normalized, then clipped.

    `learn`: count the rewards for the running normalization first.
    """
    config, results = profile.config, scored.results
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
        f"the reward {reward:g} is beyond {LARGEST_REWARD:g}, too large to normalize; give the "
        "scorer a range",
    )


def _read(path: Path) -> RunningMoments | None:
    """Return the statistics that an earlier run saved. Rename an invalid file and start anew.

    Raises:
        ConfigError: the file cannot be read, or an invalid one cannot be renamed.
    """
    try:
        content = path.read_bytes()
        try:
            return msgspec.json.decode(content, type=RunningMoments).validated()
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            aside = path.with_name(f"{path.name}.bad-{time.time_ns()}")
            path.replace(aside)
            logger.warning(
                "%s is not a valid state file (%s): renamed it to %s; the running normalization "
                "starts anew",
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
