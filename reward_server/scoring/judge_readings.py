"""What the metrics show of the judges that the profiles have, by profile and key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prometheus_client.core import CounterMetricFamily

from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import is_object
from touchstone_rewards.reward_server.scorers.base import Scorer
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

COUNTED = {
    "calls": "Calls of judges",
    "failed": "Calls of judges that got no usable answer",
    "unreadable": "Answers of judges without a verdict",
    "prompt_tokens": "Tokens of prompts, as the judges' endpoints count them",
    "completion_tokens": "Tokens of answers, as the judges' endpoints count them",
    "seconds": "Seconds that answered calls of judges took, together",
    "cost": "What the calls of judges cost by their tables of prices",
    "over_budget": "Calls of judges that were not made because a budget was spent",
    "cache_hits": "Samples whose verdict was known already and cost no call",
}


def judge_readings(profiles: Mapping[str, Profile]) -> list[MetricReading]:
    """Return the readings of all judges in the profiles, also of those that are loaded later."""
    return [
        MetricReading(
            CounterMetricFamily,
            f"reward_judge_{name}",
            text,
            "scorer",
            partial(_all, profiles, name),
        )
        for name, text in COUNTED.items()
    ]


def _all(profiles: Mapping[str, Profile], name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    seen: set[int] = set()  # profiles may share a judge; it counts for the first of them
    for profile in profiles.values():
        for key, scorer in with_asked(profile):
            usage = getattr(scorer, "usage", None)
            if scorer.runs_in == "remote" and is_object(usage) and id(scorer) not in seen:
                seen.add(id(scorer))
                found[f"{profile.name}.{key}"] = float(usage.get(name, 0))
    return found


def with_asked(profile: Profile) -> list[tuple[str, Scorer]]:
    """Return the scorers of a profile; those that a scorer of groups asks stand under its key."""
    return [
        (key, each)
        for key, scorer in profile.scorers.items()
        for each in (
            [profile.asked[spec.key] for spec in scorer.asks]
            if scorer.runs_in == "group"
            else [scorer]
        )
    ]
