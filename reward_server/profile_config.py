"""What a profile's YAML file holds: its scorers, their weights, and how they are combined.

In: a YAML file. Out: its content, typed and checked. Nothing is built; `profiles.py` does.
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

# With less, Python itself cannot work.
LEAST_MEMORY_BYTES = 2**24
Finite = Annotated[float, Field(allow_inf_nan=False)]


class ScorerEntry(BaseModel):
    """One scorer of a profile. With `gate_below`, a score below it makes the reward 0.
    `deadline_s`: of one sample in a worker or at a remote scorer, where it is not to be the
    server's. `turns`: judge each message that the assistant wrote, and take their mean, say.
    `schedule`: a weight that changes, in place of `weight`. `max_in_flight`: samples of a remote
    scorer in hand at a time, in place of its own. `memory_bytes`: what one sample may allocate in
    a worker, where that is less than the server's. `pool`: workers of its own,
    so that it waits for no other scorer and none for it. `when`: run it only where other scorers
    said so; `replaces`: the one that it then stands in for, with the weight and gate of that one.
    """

    model_config = ConfigDict(extra="forbid")

    scorer: str | None = Field(default=None, description="which scorer; default: the entry's key")
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
        """How to build the scorer of the entry with this key."""
        return ScorerSpec(self.scorer or key, self.config, self.pool.get("workers", 0))

    @property
    def counts(self) -> bool:
        """Does the reward depend on this scorer?"""
        gated = self.gate_below is not None
        return self.weight != 0 or gated or self.schedule is not None

    @model_validator(mode="after")
    def _one_weight(self) -> ScorerEntry:
        if self.schedule is not None and "weight" in self.model_fields_set:
            raise ValueError("weight came beside a schedule, which is the weight; give one of them")
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
                f"replaces {self.replaces!r} came without when; say where it does: {EXPECTED}"
            )
        if "weight" not in self.model_fields_set:
            self.weight = 0.0
        if self.counts:
            raise ValueError(
                f"it replaces {self.replaces!r} and has the weight and the gate of that one; leave "
                "out weight, gate_below and schedule"
            )
        return self


class WatchConfig(BaseModel):
    """What the reward-hacking watch looks at: `compare` names two scorers that should agree."""

    model_config = ConfigDict(extra="forbid")

    compare: tuple[str, str]


class ProfileConfig(BaseModel):
    """What a profile's YAML file holds; the profile's name is the file's.

    `clip`: the least and the greatest reward. `on_response_timeout`: the reward, before it is
    normalised and clipped, of a sample that ran to the end of its own deadline. `normalization`:
    see `normalization.py`. `shadow`: another profile that scores the same samples for comparison.
    `route`: in place of scorers, which other profile scores a row. `sample_profiles`: those that a
    sample may name itself.
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
            raise ValueError("neither scorers nor a route came; expected one of them")
        if self.route is None:
            return self
        own = ("scorers", "clip", "on_response_timeout", "normalization", "watch", "groups")
        if taken := [name for name in own if getattr(self, name) not in ({}, None, "none")]:
            raise ValueError(
                f"{taken[0]} came beside a route; it belongs to the profiles that this leads to"
            )
        return self

    @model_validator(mode="after")
    def _refuse_to_compare_what_is_not_there(self) -> ProfileConfig:
        compared = self.watch.compare if self.watch else ()
        missing = [key for key in compared if key not in self.scorers]
        if missing:
            raise ValueError(f"watch.compare names {missing[0]!r}, which is none of the scorers")
        return self

    @model_validator(mode="after")
    def _refuse_an_empty_range(self) -> ProfileConfig:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip is {list(self.clip)}; expected [least, greatest]")
        return self


def read_config(path: Path) -> ProfileConfig:
    """Return what the YAML file of a profile holds, nothing of it built.

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
