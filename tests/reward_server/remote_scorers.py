"""Remote scorers for the tests, which do what a sample's response says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Literal

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score


class Acting:
    """Score the number of characters; `in_hand` and `most` count the samples in progress."""

    version = "1"
    range = (0.0, None)
    runs_in: Literal["remote"] = "remote"
    reads = ("response",)
    max_in_flight = 4

    def __init__(self) -> None:
        self.in_hand = self.most = 0
        self.go_on = asyncio.Event()
        self.cancelled: list[str] = []

    async def score(
        self, samples: Sequence[Sample], *, explain: bool = False, give_up_at_s: float | None = None
    ) -> list[Score]:
        self.in_hand += len(samples)
        self.most = max(self.most, self.in_hand)
        try:
            return [await self._score(sample.response) for sample in samples]
        finally:
            self.in_hand -= len(samples)

    async def _score(self, response: str) -> Score:
        if response == "wait":
            await self.go_on.wait()
        if response in ("hang", "stubborn"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(response)
                if response == "hang":
                    raise
                await self.go_on.wait()
        if response == "raise":
            raise ValueError("no such thing")
        if response == "exit":
            sys.exit(3)
        if response == "refused":
            raise ConnectionRefusedError("port 9")
        if response == "upstream":
            return Score(error=sample_error("upstream_failed", "503 from the judge"))
        if response == "cancel":
            raise asyncio.CancelledError
        if response == "text":
            return Score("7")  # pyright: ignore[reportArgumentType]
        return Score(float(len(response)))


class Alike(Acting):
    """Has attributes with names that the server's own remote scorers have, of other forms."""

    deterministic = True
    transport, reported = "https", 1

    def __init__(self) -> None:
        super().__init__()
        self.usage: dict[str, int] = {}


class NotAsync:
    """A remote scorer by name whose method would block the event loop."""

    version, range, runs_in, reads, max_in_flight = "1", (0.0, 1.0), "remote", ("response",), 4

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(0.0) for _ in samples]
