"""Which scorers the workers must build: those of the profiles, and those that groups ask for.

In: profiles. Out: the specs of scorers by their keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.scorers.base import ScorerSpec


def worker_specs(profiles: Mapping[str, Profile]) -> dict[str, ScorerSpec]:
    """The scorers of all profiles that run in workers, those that whole groups ask for too."""
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
