"""The content of a profile's YAML file: scorers, their weights, and how they are combined.

Reads and checks the file. `profiles.py` builds the scorers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from touchstone_rewards.reward_server.cascades import EXPECTED, Condition, conditions
from touchstone_rewards.reward_server.complaints import describe, on_one_line
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.gathering import GroupConfig
from touchstone_rewards.reward_server.routes import RouteConfig
from touchstone_rewards.reward_server.schedules import ScheduleConfig
from touchstone_rewards.reward_server.scorers.base import ScorerSpec

# Python itself needs at least this much.
LEAST_MEMORY_BYTES = 2**24
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ScorerEntry(BaseModel):
    """One scorer of a profile. With `gate_below`, a lower score makes the reward 0.

    `deadline_s`: time limit of one sample in a worker or at a remote scorer; default: the server's.
    `turns`: score each assistant message, and combine the scores, for example by their mean.
    `schedule`: a weight that changes over time, instead of `weight`. `max_in_flight`: concurrent
    samples of a remote scorer. `memory_bytes`: memory that one sample may allocate in a worker, if
    less than the server's limit. `pool`: workers reserved for this scorer. `when`: run only on
    these verdicts of other scorers. `replaces`: the scorer whose verdict, weight and gate this one
    takes over when it runs.
    """

    model_config = ConfigDict(extra="forbid")

    scorer: str | None = Field(
        default=None, description="name of the scorer; default: the entry's key"
    )
    weight: Finite = 1.0
    gate_below: Finite | None = None
    deadline_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    pool: dict[Literal["workers"], Annotated[int, Field(ge=1)]] = {}
    max_in_flight: int | None = Field(default=None, ge=1)
    memory_bytes: int | None = Field(default=None, ge=LEAST_MEMORY_BYTES)
    turns: Literal["mean", "min", "max", "last"] | None = None
    schedule: ScheduleConfig | None = None
    when: dict[str, tuple[Condition, ...]] | None = None
    replaces: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)

    def spec(self, key: str) -> ScorerSpec:
        """Return the spec that builds the scorer of this entry; `key` is the entry's key."""
        return ScorerSpec(self.scorer or key, self.config, self.pool.get("workers", 0))

    @property
    def counts(self) -> bool:
        """Return whether the reward depends on this scorer."""
        gated = self.gate_below is not None
        return self.weight != 0 or gated or self.schedule is not None

    @model_validator(mode="after")
    def _one_weight(self) -> ScorerEntry:
        if self.schedule is not None and "weight" in self.model_fields_set:
            raise ValueError("weight and schedule are both set; set one of them")
        return self

    @field_validator("when", mode="before")
    @classmethod
    def _check_when(cls, when: object) -> object:
        return conditions(when)

    @model_validator(mode="after")
    def _stand_in(self) -> ScorerEntry:
        if self.replaces is None:
            return self
        if self.when is None:
            raise ValueError(
                f"replaces {self.replaces!r} is set without when; add when: {EXPECTED}"
            )
        if "weight" not in self.model_fields_set:
            self.weight = 0.0
        if self.counts:
            raise ValueError(
                f"it replaces {self.replaces!r} and takes over its weight and gate; leave "
                "out weight, gate_below and schedule"
            )
        return self


class WatchConfig(BaseModel):
    """Settings of the reward-hacking watch: `compare` names two scorers that should agree."""

    model_config = ConfigDict(extra="forbid")

    compare: tuple[str, str]


class ProfileConfig(BaseModel):
    """The content of a profile's YAML file; the profile is named after the file.

    `clip`: minimum and maximum reward. `on_response_timeout`: reward of a sample whose own deadline
    passed, before normalization and clipping. `normalization`: with `running`, subtract the running
    mean of the rewards and divide by their running standard deviation. `shadow`: another profile
    that scores the same samples for comparison. `route`: choose another profile for each row,
    instead of scorers. `sample_profiles`: profiles that a sample may name.
    """

    model_config = ConfigDict(extra="forbid")

    description: str = ""
    scorers: dict[str, ScorerEntry] = Field(default_factory=dict)
    route: RouteConfig | None = None
    sample_profiles: list[str] = Field(default_factory=list)
    clip: tuple[Finite, Finite] | None = None
    on_response_timeout: Finite | None = None
    normalization: Literal["none", "running"] = "none"
    shadow: str | None = None
    watch: WatchConfig | None = None
    groups: GroupConfig | None = None

    @model_validator(mode="after")
    def _score_or_route(self) -> ProfileConfig:
        if not self.scorers and self.route is None:
            raise ValueError("has neither scorers nor a route; give it one of them")
        if self.route is None:
            return self
        own = ("scorers", "clip", "on_response_timeout", "normalization", "watch", "groups")
        if taken := [name for name in own if getattr(self, name) not in ({}, None, "none")]:
            raise ValueError(
                f"{taken[0]} is set beside a route; set it in the profiles that the route chooses"
            )
        return self

    @model_validator(mode="after")
    def _refuse_to_compare_what_is_not_there(self) -> ProfileConfig:
        compared = self.watch.compare if self.watch else ()
        missing = [key for key in compared if key not in self.scorers]
        if missing:
            raise ValueError(f"watch.compare names {missing[0]!r}, which is not one of the scorers")
        return self

    @model_validator(mode="after")
    def _refuse_an_empty_range(self) -> ProfileConfig:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip is {list(self.clip)}; expected [least, greatest]")
        return self


def read_config(path: Path) -> ProfileConfig:
    """Return the content of a profile's YAML file; build nothing.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ProfileConfig.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read profile {path}: {on_one_line(error)}") from error
    except ValidationError as error:
        raise ConfigError(f"profile {path}: {describe(error)}") from error
