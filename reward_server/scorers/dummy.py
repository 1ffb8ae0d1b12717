"""A scorer without a model: a number in [0, 1) that depends only on the sample's text.

Useful to run, measure and test the service; the number has no meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score


class DummyScorer:
    """Score a hash of the response as a fraction."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: Literal["inline"] = "inline"
    reads = ("response",)

    def __init__(self, seed: Annotated[Any, Field(description="selects another hash")] = 0) -> None:
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ValueError(f"seed is {seed!r}; expected an integer from 0 to 2**64 - 1")
        self.salt = seed.to_bytes(8, "big")

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        explanation = {"rule": "hash of the response"} if explain else None
        return [Score(self._value(sample.response), None, explanation) for sample in samples]

    def _value(self, response: str) -> float:
        # 52 bits: an integer below 2**52 over 2**52 is exact in a float and below 1.
        digest = blake2b(response.encode("utf-8", "replace"), digest_size=8, salt=self.salt)
        return (int.from_bytes(digest.digest(), "big") >> 12) / 2**52
