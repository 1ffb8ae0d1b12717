"""What the metrics show of reward models and sandboxes behind endpoints, by profile and key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

from prometheus_client.core import CounterMetricFamily

from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

COUNTED = {
    "calls": "Requests to endpoints of reward models and sandboxes",
    "failed": "Requests to endpoints of reward models and sandboxes without a usable answer",
}


def remote_readings(profiles: Mapping[str, Profile]) -> list[MetricReading]:
    """Return the readings of all such scorers in the profiles, also of those loaded later."""
    return [
        MetricReading(
            CounterMetricFamily,
            f"reward_remote_{name}",
            text,
            "scorer",
            partial(_all, profiles, name),
        )
        for name, text in COUNTED.items()
    ]


def _all(profiles: Mapping[str, Profile], name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    seen: set[int] = set()  # profiles may share a scorer; it counts for the first of them
    for profile in profiles.values():
        for key, scorer in profile.scorers.items():
            requests = getattr(scorer, "requests", None)
            if isinstance(requests, Counter) and id(scorer) not in seen:
                seen.add(id(scorer))
                found[f"{profile.name}.{key}"] = float(requests[name])
    return found
