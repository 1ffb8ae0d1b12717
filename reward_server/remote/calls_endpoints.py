"""The base of what calls endpoints: remote scorers and models that run elsewhere."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.remote.transport import UpstreamTransport


class CallsEndpoints:
    """A scorer or model that calls endpoints through its `transport`."""

    transport: UpstreamTransport

    @property
    def usage(self) -> defaultdict[str, float] | None:
        """Counts of its calls, such as tokens and cost; None if it counts none."""
        return None
