"""Which endpoints have shown that they are what they should be.

An endpoint is asked for its proof before its first request, and again after a connection to it has
failed: what is then behind the address may have been started anew. One that fails its proof is not
used, and asked again later.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

# How long one that failed its proof is left alone.
REFUSED_S = 30.0

# Sends a body to one endpoint and returns the JSON of its answer.
AskOne = Callable[[bytes], Awaitable[Any]]
# Returns why the endpoint must not be used, or None. It may raise what asking raises.
Proof = Callable[[AskOne], Awaitable[str | None]]


class Admission:
    """The proofs of the endpoints of one transport. Times are those of the event loop.

    `refused`: why, and until when it is not asked again, by URL.
    """

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self._admitted: set[str] = set()
        self.refused: dict[str, tuple[str, float]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def forget(self, url: str) -> None:
        """Ask for the proof again before the next request."""
        self._admitted.discard(url)

    async def refusal(self, url: str, ask: AskOne) -> str | None:
        """Return why the endpoint must not be used, or None. One call asks, the others wait for it.

        Raises:
            Exception: whatever asking raises.
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
