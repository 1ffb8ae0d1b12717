"""The endpoints behind the profiles' remote scorers: which of them answer, and their counts.

Reports the scorers without a live endpoint, and numbers for the metrics and the dashboard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from touchstone_rewards.reward_server.models.batcher import Batcher
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.remote.liveness import EndpointState, Liveness
from touchstone_rewards.reward_server.remote.transport import UpstreamTransport
from touchstone_rewards.reward_server.scoring.judge_readings import with_asked
from touchstone_rewards.reward_server.scoring.model_host import with_model


class UpstreamState(Struct):
    """A scorer that needs endpoints, named by its first profile and key; the state of its endpoints
    and its counts: calls, tokens, cost, seconds, cache hits."""

    scorer: str
    endpoints: list[EndpointState]
    usage: dict[str, float]


class Upstreams(Collector):
    """The endpoints of all profiles, including profiles loaded later.

    `models`: the batchers by model label. `needed`: the server is not ready while all endpoints of
    a scorer are down.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        models: Mapping[str, Batcher],
        *,
        needed: bool = False,
    ) -> None:
        self.needed = needed
        self._profiles = profiles
        self._models = models
        self._known: WeakKeyDictionary[UpstreamTransport, Liveness] = WeakKeyDictionary()

    def look(self) -> None:
        """Check soon whether endpoints that are down have recovered."""
        for _, _, liveness in self._each():
            liveness.look()

    def down(self) -> dict[str, str]:
        """Return the scorers that cannot score at the moment and why, by profile and key."""
        return {
            name: f"none of its {len(liveness.transport.servers)} endpoints answers"
            for name, _, liveness in self._each()
            if liveness.all_down
        }

    @property
    def not_ready_reason(self) -> str | None:
        """Return why endpoints make the server not ready, or None."""
        down = self.down() if self.needed else {}
        return "; ".join(f"{name}: {why}" for name, why in down.items()) or None

    def states(self) -> list[UpstreamState]:
        """Return the state of each scorer's endpoints; shared endpoints are listed once."""
        return [
            UpstreamState(name, liveness.states(), dict(before.usage or {}))
            for name, before, liveness in self._unshared()
        ]

    def collect(self) -> Iterator[Metric]:
        labels = ["scorer", "endpoint"]
        up = GaugeMetricFamily("reward_upstream_up", "1 while the endpoint answers", labels=labels)
        text = "Requests sent to the endpoint and not yet answered"
        in_flight = GaugeMetricFamily("reward_upstream_in_flight", text, labels=labels)
        for state in self.states():
            for each in state.endpoints:
                up.add_metric([state.scorer, each.endpoint], float(each.up))
                in_flight.add_metric([state.scorer, each.endpoint], each.in_flight)
        yield from (up, in_flight)
        for counted, text in TRIES.items():
            counter = CounterMetricFamily(f"reward_upstream_{counted}", text, labels=["scorer"])
            for name, _, liveness in self._unshared():
                counter.add_metric([name], liveness.transport.counts[counted])
            yield counter

    def _each(self) -> Iterator[tuple[str, CallsEndpoints, Liveness]]:
        for profile in self._profiles.values():
            for key, before in (*with_asked(profile), *self._models_of(profile)):
                if isinstance(before, CallsEndpoints):
                    transport = before.transport
                    liveness = self._known.setdefault(transport, Liveness(transport))
                    yield f"{profile.name}.{key}", before, liveness

    def _models_of(self, profile: Profile) -> Iterator[tuple[str, object]]:
        for key, scorer in with_model(profile):
            if (batcher := self._models.get(scorer.model.label)) is not None:
                yield key, batcher.model

    def _unshared(self) -> Iterator[tuple[str, CallsEndpoints, Liveness]]:
        """Yield the items of `_each`; endpoints shared by several scorers only once."""
        seen: set[int] = set()
        for name, before, liveness in self._each():
            if id(liveness) not in seen:
                seen.add(id(liveness))
                yield name, before, liveness


TRIES = {
    "tries": "Requests sent to endpoints, retries included",
    "failed_tries": "Failed requests to endpoints, including those that were retried",
}
