"""Fingerprints of profiles: the same fingerprint means the same rewards.

A fingerprint is a short hash of a profile's configuration and its scorers' versions, or of the
fingerprints of the profiles that it routes to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from touchstone_rewards.reward_server.schemas import RouteInfo
from touchstone_rewards.reward_server.scorers.base import ReportsModel, Scorer, ScorerSpec
from touchstone_rewards.reward_server.scorers.groups.duplicates import remembers

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.profile_config import ProfileConfig


def fingerprint_of(
    config: ProfileConfig,
    specs: Mapping[str, ScorerSpec],
    scorers: Mapping[str, Scorer],
    asked: Mapping[str, Scorer],
) -> str:
    """Return a hash of everything that decides rewards.

    `asked`: the scorers that scorers of whole groups ask. Those that run in workers are covered by
    the version of the group scorer.
    """
    # Settings left at their default are left out, so that profiles without them keep their
    # fingerprint. Batch sizes, deadlines and placement change no score.
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
    suffixes = ["remembering"] if any(map(remembers, scorers.values())) else []
    suffixes += [] if config.normalization == "none" else [config.normalization]
    return "-".join([digest, *suffixes])


def reported_names(scorers: Mapping[str, Scorer], asked: Mapping[str, Scorer]) -> list[str]:
    """Return the model names that the endpoints of scorers report, "" for one that has not answered
    yet."""
    return [
        scorer.reported
        for scorer in [*scorers.values(), *asked.values()]
        if isinstance(scorer, ReportsModel)
    ]


def joined_fingerprint(own: str, route: RouteInfo | None, targets: Mapping[str, str]) -> str:
    """Return the fingerprint of a profile that routes: of its own one and those of its targets."""
    content = [own, msgspec.to_builtins(route), dict(targets)]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    suffixes = {suffix for each in [own, *targets.values()] for suffix in each.split("-")[1:]}
    return "-".join([digest, *sorted(suffixes)])
