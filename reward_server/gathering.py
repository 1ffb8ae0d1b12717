"""A profile's `groups`: how the samples of a group are gathered, checked at load time.

Takes the `groups` of a profile file and the profile's scorers; returns its scorers of whole groups.
`scoring/gather.py` does the gathering.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Scorer


class GroupConfig(BaseModel):
    """How the samples of a group are gathered, and how an incomplete group is scored.

    `size`: number of members to wait for, over all requests, up to `deadline_s` from the first one
    on; without it, a group is the members within one request. `incomplete`: score the members that
    came (`score`), or none of them (`no_score`).
    """

    model_config = ConfigDict(extra="forbid")

    size: int | None = Field(default=None, ge=2)
    deadline_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    incomplete: Literal["score", "no_score"] = "score"


def group_keys(config: GroupConfig | None, scorers: Mapping[str, Scorer]) -> list[str]:
    """Return the keys of the scorers of whole groups.

    Raises:
        ConfigError: one needs the scores of a scorer that is missing or sees groups itself, or
            takes no groups of the profile's size; or `groups` is set and no scorer sees groups.
    """
    found = {key: scorer for key, scorer in scorers.items() if scorer.runs_in == "group"}
    others = [key for key in scorers if key not in found]
    size = config.size if config else None
    for key, scorer in found.items():
        if scorer.runs_in != "group":
            continue
        if unknown := [each for each in scorer.of if each not in others]:
            raise ConfigError(
                f"scorer {key} uses {unknown[0]!r}, which is not one of the profile's scorers of "
                f"single samples: {', '.join(others) or 'there are none'}"
            )
        if size is not None and size > scorer.max_members:
            raise ConfigError(
                f"groups.size is {size}, and scorer {key} takes at most {scorer.max_members} "
                "members"
            )
    if config is not None and not found:
        raise ConfigError("groups is set, but none of the scorers sees whole groups")
    return list(found)


def fields_of(scorers: Iterable[Scorer]) -> list[tuple[str, ...]]:
    """Return the fields of a sample that each of these scorers reads; scorers of whole groups also
    read `group_id`."""
    return [
        (*scorer.reads, "group_id") if scorer.runs_in == "group" else scorer.reads
        for scorer in scorers
    ]


def asked_scorers(scorers: Mapping[str, Scorer], built: Mapping[str, Scorer]) -> dict[str, Scorer]:
    """Return the scorers that scorers of whole groups ask, by spec key; reuse those in `built`.

    Raises:
        ConfigError: one cannot be built, or sees whole groups itself.
    """
    found: dict[str, Scorer] = {}
    for key, scorer in scorers.items():
        for spec in scorer.asks if scorer.runs_in == "group" else ():
            asked = built.get(spec.key) or build_scorer(spec.name, spec.config)
            if asked.runs_in == "group":
                raise ConfigError(f"scorer {key} asks {spec.name!r}, which sees whole groups")
            found[spec.key] = asked
    return found


def turn_keys(folds: Mapping[str, str | None], scorers: Mapping[str, Scorer]) -> list[str]:
    """Return the keys of the scorers that judge turns, because of their entry or by nature.

    Raises:
        ConfigError: one of them sees whole groups.
    """
    found = [key for key, scorer in scorers.items() if folds[key] is not None or scorer.sees_turns]
    if grouped := [key for key in found if scorers[key].runs_in == "group"]:
        raise ConfigError(f"scorer {grouped[0]} sees whole groups, and cannot judge turns")
    return found
