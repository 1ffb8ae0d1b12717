"""The metrics of the profiles' judges, by profile and key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prometheus_client.core import CounterMetricFamily

from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.scorers.base import Scorer
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

COUNTED = {
    "calls": "Calls to judges",
    "failed": "Calls to judges without a usable answer",
    "unreadable": "Answers of judges without a verdict",
    "prompt_tokens": "Prompt tokens, as counted by the judges' endpoints",
    "completion_tokens": "Completion tokens, as counted by the judges' endpoints",
    "seconds": "Total seconds of answered calls to judges",
    "cost": "Cost of the calls to judges by the configured prices",
    "over_budget": "Calls to judges not made because a budget was spent",
    "cache_hits": "Samples whose verdict came from the cache, without a call",
}


def judge_readings(profiles: Mapping[str, Profile]) -> list[MetricReading]:
    """Return the metrics of all judges in the profiles, including profiles loaded later."""
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
    seen: set[int] = set()  # a judge that several profiles share counts for the first of them
    for profile in profiles.values():
        for key, scorer in with_asked(profile):
            counts = scorer.usage if isinstance(scorer, CallsEndpoints) else None
            if counts is not None and id(scorer) not in seen:
                seen.add(id(scorer))
                found[f"{profile.name}.{key}"] = counts.get(name, 0.0)
    return found


def with_asked(profile: Profile) -> list[tuple[str, Scorer]]:
    """Return a profile's scorers by key; scorers asked by a group scorer come under its key."""
    return [
        (key, each)
        for key, scorer in profile.scorers.items()
        for each in (
            [profile.asked[spec.key] for spec in scorer.asks]
            if scorer.runs_in == "group"
            else [scorer]
        )
    ]
