"""Profiles: named combinations of scorers, read from YAML, and the rewards they compute.

Reads YAML files, built-in ones and the operator's own; returns profiles with their scorers built
and their fingerprints. It combines scores into rewards but scores nothing itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import isfinite
from pathlib import Path

from msgspec.structs import replace
from pydantic import ValidationError

from touchstone_rewards.reward_server.cascades import Counted, cascades_of
from touchstone_rewards.reward_server.complaints import describe
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.fingerprints import fingerprint_of, reported_names
from touchstone_rewards.reward_server.gathering import (
    asked_scorers,
    fields_of,
    group_keys,
    turn_keys,
)
from touchstone_rewards.reward_server.models.fetchable import (
    FETCHABLE,
    FETCHED_FILE,
    fetched_folder,
)
from touchstone_rewards.reward_server.profile_config import ProfileConfig, read_config
from touchstone_rewards.reward_server.routes import (
    ERROR,
    Route,
    joined_fields,
    joined_info,
    link,
)
from touchstone_rewards.reward_server.schedules import TIME, Schedule, added
from touchstone_rewards.reward_server.schemas import GroupInfo, ProfileInfo, SampleError
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Score, Scorer
from touchstone_rewards.reward_server.scorers.groups.duplicates import Duplicates, remembers
from touchstone_rewards.reward_server.scorers.plugins import NO_PLUGINS, Plugins

BUILTIN_DIR = Path(__file__).parent / "profiles"
# In a separate directory, so that a server that does not use them needs no model and no torch.
NEURAL_DIR = BUILTIN_DIR / "neural"
# One directory per fetchable model; its profiles are served once the model is fetched.
FETCHED_DIR = BUILTIN_DIR / "fetched"
OVERFLOW = sample_error("scorer_failed", "the weighted sum of the scores is too large a number")


def fetched_dirs() -> list[Path]:
    """Return the directories of profiles whose models `reward-server fetch` has already fetched."""
    return [
        FETCHED_DIR / name
        for name in FETCHABLE
        if (FETCHED_DIR / name).is_dir() and (fetched_folder(name) / FETCHED_FILE).is_file()
    ]


class Profile:
    """A profile with its scorers built; scorers in `built` (by spec key) are reused.

    `fingerprint` is a hash of the configuration and of the scorers' versions: the same fingerprint,
    the same rewards. With running normalization it ends in `-running`, and only the scores are the
    same. With a scorer that remembers responses it ends in `-remembering`, and that one's scores
    differ too.

    `plugins`: the Python modules it may use. `counting`: the scorers that the reward depends on.
    `waits`: does any scorer run outside the event loop, so that a caller may hang up meanwhile?
    `spec_keys`: the keys of `specs`, computed once. `asked`: the scorers that scorers of whole
    groups ask, by spec key. `unnamed`: is the model name of an endpoint still unknown?
    `cascades`: None if every scorer runs for every sample.
    """

    def __init__(
        self,
        name: str,
        config: ProfileConfig,
        built: Mapping[str, Scorer] | None = None,
        plugins: Plugins = NO_PLUGINS,
    ) -> None:
        self.name = name
        self.config = config
        self.entries = dict(config.scorers)
        self.specs = {key: entry.spec(key) for key, entry in config.scorers.items()}
        for spec in self.specs.values():
            plugins.admit(spec.name)
        self.spec_keys = {key: spec.key for key, spec in self.specs.items()}
        self.scorers: dict[str, Scorer] = {
            key: (built or {}).get(spec.key) or build_scorer(spec.name, spec.config)
            for key, spec in self.specs.items()
        }
        self.asked = asked_scorers(self.scorers, built or {})
        self.group_keys = group_keys(config.groups, self.scorers)
        self.schedules = {
            key: Schedule(entry.schedule)
            for key, entry in self.entries.items()
            if entry.schedule is not None
        }
        folds = {key: entry.turns for key, entry in self.entries.items()}
        self.turn_keys = turn_keys(folds, self.scorers)
        for key, scorer in self.scorers.items():
            if scorer.runs_in in ("model", "remote") and self.entries[key].pool:
                why = f"scorers.{key} has a pool, but {scorer.runs_in} scorers use no workers"
                raise ConfigError(why)
        self.counting = [key for key, entry in self.entries.items() if entry.counts]
        self.cascades = cascades_of(self.entries, self.scorers, self.counting)
        self._alone = self._only_score()
        self.waits = any(scorer.runs_in != "inline" for scorer in self.scorers.values())
        self.route = Route(config.route) if config.route else None
        routed = self.route.targets if self.route else []
        self.target_names = list(dict.fromkeys([*routed, *config.sample_profiles]))
        self.targets: Mapping[str, Profile] = {}
        self.fingerprint = fingerprint_of(config, self.specs, self.scorers, self.asked)
        self.unnamed = "" in reported_names(self.scorers, self.asked)
        self.info = self._own_info = self._described()

    def _described(self) -> ProfileInfo:
        """Return the entry of `GET /profiles`, without the profiles that it routes to."""
        groups = self.config.groups
        by_step = ["metadata"] if any(one.by != TIME for one in self.schedules.values()) else []
        needed = self.cascades.reached_from(self.counting) if self.cascades else self.counting
        return ProfileInfo(
            name=self.name,
            description=self.config.description,
            scorers=list(self.scorers),
            ranges={key: scorer.range for key, scorer in self.scorers.items()},
            fingerprint=self.fingerprint,
            reads=joined_fields([by_step, *fields_of(self.scorers.values())]),
            needs=joined_fields([by_step, *fields_of(self.scorers[key] for key in needed)]),
            route=self.route.info if self.route else None,
            sample_profiles=list(self.config.sample_profiles),
            groups=GroupInfo(groups and groups.size) if self.group_keys else None,
            turns=bool(self.turn_keys),
            schedules=list(dict.fromkeys(one.by for one in self.schedules.values())),
            cascades=self.cascades.infos if self.cascades else {},
            languages=_languages(self.scorers.values()),
        )

    @cached_property
    def single_keys(self) -> list[str]:
        """Return the keys of the scorers that need no group."""
        return [key for key in self.scorers if key not in self.group_keys]

    @cached_property
    def remembering(self) -> dict[str, Duplicates]:
        """Return the scorers that remember responses, by key."""
        return {key: one for key, one in self.scorers.items() if remembers(one)}

    @cached_property
    def plain(self) -> bool:
        """Return whether each scorer scores each text independently, without a route."""
        return not (self.group_keys or self.turn_keys or self.cascades or self.route)

    @cached_property
    def at_once(self) -> bool:
        """Return whether the profile is plain and all its scorers run in the event loop."""
        return self.plain and all(one.runs_in == "inline" for one in self.scorers.values())

    @property
    def by_earlier(self) -> bool:
        """Return whether its rewards depend on earlier requests."""
        return self.config.normalization != "none" or bool(self.remembering)

    @cached_property
    def finishes(self) -> bool:
        """Return whether the weighted sums are normalized or clipped."""
        return self.config.normalization != "none" or self.config.clip is not None

    @cached_property
    def kept_once(self) -> bool:
        """Return whether scoring needs state that only one process of a server holds: statistics
        of a running normalization, groups gathered over requests, responses remembered, a model
        or an endpoint."""
        groups = self.config.groups
        gathered = groups is not None and groups.size is not None
        used = [*self.scorers.values(), *self.asked.values()]
        held = any(
            one.runs_in in ("model", "remote") or (one.runs_in == "group" and one.model is not None)
            for one in used
        )
        here = gathered or held or self.by_earlier
        return here or any(target.kept_once for target in self.targets.values())

    def _only_score(self) -> str | None:
        """Return the key of the scorer whose score is the whole reward; None if there is more."""
        if len(self.counting) != 1:
            return None
        (key,) = self.counting
        entry = self.entries[key]
        plain = entry.gate_below is None and entry.schedule is None
        return key if entry.weight == 1 and plain else None

    def with_scorers(self, scorers: Mapping[str, Scorer]) -> Profile:
        """Return a copy with these scorers replaced, and the fingerprint that follows from them.

        This profile stays as it is, so that running requests finish with the fingerprint they
        began with.
        """
        other = copy.copy(self)
        other.scorers = {**self.scorers, **scorers}
        other.fingerprint = fingerprint_of(self.config, self.specs, other.scorers, self.asked)
        other.unnamed = "" in reported_names(other.scorers, self.asked)
        other.info = replace(self.info, fingerprint=other.fingerprint)
        other._own_info = replace(self._own_info, fingerprint=other.fingerprint)
        return other

    def built(self) -> dict[str, Scorer]:
        """Return its scorers and the scorers that these ask, by spec key."""
        return {self.spec_keys[key]: one for key, one in self.scorers.items()} | self.asked

    def reached(self) -> list[Profile]:
        """Return every profile that may score a sample of this one, itself first if it scores."""
        found: dict[str, Profile] = {} if self.route else {self.name: self}
        for target in self.targets.values():
            found |= {each.name: each for each in target.reached()}
        return list(found.values())

    def with_targets(self, targets: Mapping[str, Profile]) -> Profile:
        """Return a copy linked to the profiles that it leads to; its scorer keys are the union.

        Raises:
            ConfigError: a scorer there has the key that explanations use for the route.
        """
        other = copy.copy(self)
        other.targets = targets
        other.waits = self.waits or any(target.waits for target in targets.values())
        other.unnamed = self.unnamed or any(target.unnamed for target in targets.values())
        infos = {name: target.info for name, target in targets.items()}
        other.info = joined_info(self._own_info, infos)
        other.fingerprint = other.info.fingerprint
        return other

    def reward(
        self, scores: Mapping[str, Score], weights: Mapping[str, float] | None = None
    ) -> tuple[float | None, SampleError | None]:
        """Return the reward of one sample, or the error that prevents it; see `rewards`."""
        weight_columns = {key: [weight] for key, weight in (weights or {}).items()}
        counted = self.counted({key: [score] for key, score in scores.items()})
        (reward,) = self.rewards(counted.values, 1, weight_columns, counted.gates)
        if reward is not None:
            return reward, None
        (error,) = self.errors(counted.columns)
        return None, error

    def counted(self, columns: Mapping[str, Sequence[Score]]) -> Counted:
        """Return the inputs of the reward; in a cascade, only the verdicts that stand."""
        if self.cascades is not None:
            return self.cascades.counted(self.counting, columns)
        values = {key: [score.value for score in column] for key, column in columns.items()}
        return Counted(values, values, columns, {})

    def rewards(
        self,
        values: Mapping[str, Sequence[float | None]],
        count: int,
        weights: Mapping[str, Sequence[float | None]] | None = None,
        gates: Mapping[str, Sequence[float | None]] | None = None,
    ) -> Sequence[float | None]:
        """Return for each of `count` samples the weighted sum of its scores: 0 behind a closed
        gate, None if a counting scorer could not score. Not yet normalized or clipped.

        `values`: one column per scorer; whole columns cost a third of single samples. `weights`:
        those of scorers with a schedule, None where unknown. `gates`: the values that gates look
        at, if they differ from `values`.
        """
        if self._alone is not None:
            return values[self._alone]
        rewards: list[float | None] = [0.0] * count
        for key in self.counting:
            if weights and key in weights:
                gated = self.entries[key].gate_below is not None
                rewards = added(rewards, values[key], weights[key], gated)
                continue
            weight = self.entries[key].weight
            rewards = [
                None if reward is None or value is None else reward + weight * value
                for reward, value in zip(rewards, values[key], strict=True)
            ]
        for key in self.counting:
            if (gate := self.entries[key].gate_below) is not None:
                rewards = [
                    0.0 if reward is not None and value is not None and value < gate else reward
                    for reward, value in zip(rewards, (gates or values)[key], strict=True)
                ]
        return [None if reward is None or not isfinite(reward) else reward for reward in rewards]

    def errors(self, columns: Mapping[str, Sequence[Score]]) -> list[SampleError | None]:
        """Return for each sample the error of the first counting scorer that could not score it;
        if all of them could, the error that explains a null reward."""
        rows = zip(*(columns[key] for key in self.counting), strict=True)
        return [next((one.error for one in row if one.value is None), OVERFLOW) for row in rows]

    def timeouts(self, columns: Mapping[str, Sequence[Score]]) -> list[bool]:
        """Return for each sample whether it failed only because its own deadline passed."""
        failed = (
            [one for one in row if one.value is None]
            for row in zip(*(columns[key] for key in self.counting), strict=True)
        )
        return [bool(row) and all(one.timed_out for one in row) for row in failed]

    def clipped(self, reward: float) -> float:
        """Return the reward limited to the profile's `clip`."""
        if self.config.clip is None:
            return reward
        least, greatest = self.config.clip
        return min(max(reward, least), greatest)


def load_profiles(
    directories: Iterable[Path] = (),
    built: Mapping[str, Scorer] | None = None,
    plugins: Plugins = NO_PLUGINS,
) -> dict[str, Profile]:
    """Return the built-in profiles and those of `directories`; later files of one name win.

    `built`: scorers to reuse, by spec key. `plugins`: the Python modules that the files may name.

    Example:
        >>> sorted(load_profiles())[:2]  # doctest: +SKIP
        ['accuracy', 'code']

    Raises:
        ConfigError: a directory without profiles, or a file that does not hold a profile.
    """
    paths: dict[str, Path] = {}
    for directory in (BUILTIN_DIR, *directories):
        found = sorted([*directory.glob("*.yaml"), *directory.glob("*.yml")])
        if not found:
            raise ConfigError(f"no profile (*.yaml) in {directory}; give a directory that has some")
        paths |= {path.stem: path for path in found}
    profiles: dict[str, Profile] = {}
    shared = dict(built or {})  # a remote scorer's budget and connections are for all its profiles
    for name, path in sorted(paths.items()):
        profiles[name] = profile = load_profile(path, shared, plugins)
        made = profile.built().items()
        shared |= {key: scorer for key, scorer in made if scorer.runs_in == "remote"}
    if any(ERROR in profile.target_names for profile in profiles.values()) or ERROR in profiles:
        raise ConfigError(f"a profile cannot be called {ERROR!r}: routes use it for no profile")
    profiles |= link(profiles)
    for name, profile in profiles.items():
        shadow = profile.config.shadow
        if shadow is not None and (shadow == name or shadow not in profiles):
            others = ", ".join(sorted(profiles.keys() - {name}))
            raise ConfigError(f"profile {name}: shadow {shadow!r} is not one of {others}")
    return profiles


def load_profile(
    path: Path, built: Mapping[str, Scorer] | None = None, plugins: Plugins = NO_PLUGINS
) -> Profile:
    """Return the profile in one YAML file.

    Raises:
        ConfigError: it is not YAML, has an unknown key, or has a scorer that is not allowed or
            cannot be built.
    """
    config = read_config(path)
    try:
        return Profile(path.stem, config, built, plugins)
    except ValidationError as error:  # from a scorer's own config
        raise ConfigError(f"profile {path}: {describe(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"profile {path}: {error}") from error


def _languages(scorers: Iterable[Scorer]) -> list[str] | None:
    """Return the languages common to all scorers that declare some; None if none does."""
    said = [one for scorer in scorers if (one := scorer.languages) is not None]
    return [one for one in said[0] if all(one in each for each in said)] if said else None
