"""The specs of the scorers that workers must build: the profiles' own, and those that groups ask.

The result maps spec keys to specs.
"""

from __future__ import annotations

from collections.abc import Mapping

from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.scorers.base import ScorerSpec


def worker_specs(profiles: Mapping[str, Profile]) -> dict[str, ScorerSpec]:
    """Return the scorers of all profiles that run in workers, including those that groups ask."""
    found: list[ScorerSpec] = []
    for profile in profiles.values():
        for key, spec in profile.specs.items():
            scorer = profile.scorers[key]
            if scorer.runs_in == "worker":
                found.append(spec)
            elif scorer.runs_in == "group" and scorer.model is None:
                found += [one for one in scorer.asks or [spec] if _in_worker(profile, one)]
    return {spec.key: spec for spec in found}


def _in_worker(profile: Profile, spec: ScorerSpec) -> bool:
    asked = profile.asked.get(spec.key)
    return asked is None or asked.runs_in in ("inline", "worker")
