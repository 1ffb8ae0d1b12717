"""Check that an endpoint is the expected one before it is used.

The check (`Proof`) runs before the first request to an endpoint and again after a failed
connection, because another server may have started at that address. An endpoint that fails the
check is not used and is checked again after `REFUSED_S` seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

# How long an endpoint that failed its check is left alone.
REFUSED_S = 30.0

# Sends a body to one endpoint and returns the JSON of its answer.
AskOne = Callable[[bytes], Awaitable[Any]]
# Returns the reason why the endpoint must not be used, or None. May raise whatever the request
# raises.
Proof = Callable[[AskOne], Awaitable[str | None]]


class Admission:
    """State of the checks for the endpoints of one transport. Times are those of the event loop.

    `refused`: by URL, the reason for the refusal and the time of the next check.
    """

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self._admitted: set[str] = set()
        self.refused: dict[str, tuple[str, float]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def forget(self, url: str) -> None:
        """Check the endpoint again before the next request."""
        self._admitted.discard(url)

    async def refusal(self, url: str, ask: AskOne) -> str | None:
        """Return the reason why the endpoint must not be used, or None.

        Concurrent calls share one check per endpoint.

        Raises:
            Exception: any error raised by the request of the check.
        """
        if url in self._admitted:
            return None
        async with self._turns[url]:
            if url in self._admitted:
                return None
            loop = asyncio.get_running_loop()
            why, until_s = self.refused.get(url, (None, 0.0))
            if loop.time() >= until_s:
                why = await self._proof(ask)
                if why is None:
                    self._admitted.add(url)
                    self.refused.pop(url, None)
                else:
                    self.refused[url] = why, loop.time() + REFUSED_S
            return why
