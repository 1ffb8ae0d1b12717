"""Fingerprints of profiles: the same fingerprint, the same rewards.

In: a profile's configuration and its scorers, or the fingerprints of those that it leads to. Out: a
short hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from touchstone_rewards.reward_server.schemas import RouteInfo
from touchstone_rewards.reward_server.scorers.base import Scorer, ScorerSpec

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.profile_config import ProfileConfig


def fingerprint_of(
    config: ProfileConfig,
    specs: Mapping[str, ScorerSpec],
    scorers: Mapping[str, Scorer],
    asked: Mapping[str, Scorer],
) -> str:
    """Return a hash of what decides rewards: the same fingerprint, the same rewards.

    `asked`: what scorers of whole groups ask; of those that run in workers their own version tells.
    """
    # What is left at its default is left out: profiles without it keep their fingerprints.
    # How many at a time, for how long and where changes no score.
    without = {"scorers": {"__all__": {"deadline_s", "max_in_flight", "memory_bytes", "pool"}}}
    whole = config.model_dump(include={"scorers"}, exclude=without) | config.model_dump(
        include={"clip", "normalization", "on_response_timeout"}, exclude_defaults=True
    )
    for entry in whole["scorers"].values():
        for name in ("turns", "schedule", "when", "replaces"):
            if entry[name] is None:
                del entry[name]
    if config.groups is not None:
        whole["groups"] = config.groups.model_dump(exclude={"deadline_s"})
    content: list[Any] = [
        whole,
        {key: [specs[key].name, scorer.version] for key, scorer in scorers.items()},
    ]
    elsewhere = [one.version for one in asked.values() if one.runs_in in ("model", "remote")]
    names = [name for name in reported_names(scorers, asked) if name]
    content += [each for each in (elsewhere, names) if each]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    return digest if config.normalization == "none" else f"{digest}-{config.normalization}"


def reported_names(scorers: Mapping[str, Scorer], asked: Mapping[str, Scorer]) -> list[str]:
    """Return the names under which the endpoints of scorers say that their models answer, "" where
    one has not answered yet."""
    found = (getattr(scorer, "reported", None) for scorer in [*scorers.values(), *asked.values()])
    return [name for name in found if isinstance(name, str)]


def joined_fingerprint(own: str, route: RouteInfo | None, targets: Mapping[str, str]) -> str:
    """Return the fingerprint of a profile that routes: `own`, and those of its targets by name."""
    content = [own, msgspec.to_builtins(route), dict(targets)]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    suffixes = {each.partition("-")[2] for each in [own, *targets.values()]} - {""}
    return "-".join([digest, *sorted(suffixes)])
