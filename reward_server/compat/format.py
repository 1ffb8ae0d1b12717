"""What a foreign format is: two types, two pure functions, and where it is served.

In: nothing. Out: the pieces of which the files beside this one are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.schemas import Number, Sample, SampleError

Asked = TypeVar("Asked")

GroundTruth = str | Number | list[str | Number] | None


class Verdict(Struct):
    """What a format has to tell of one sample: numbers only, the same `scores` for every sample.

    With `error`, the sample has no reward, and the operator's constant stands for every number.
    """

    reward: float
    scores: dict[str, float]
    error: SampleError | None = None


@dataclass(frozen=True)
class Format(Generic[Asked]):
    """One foreign format. `name` is its key in the settings, `path` the route below `/compat`;
    `request` and `answer` are the types of the bodies."""

    name: str
    path: str
    summary: str
    example: dict[str, Any]
    request: Any
    answer: Any
    samples: Callable[[Asked], list[Sample]]
    body: Callable[[Asked, Sequence[Verdict]], Any]
    decode: Callable[[bytes], Asked] | None = None
    """Reads the body where the request's type alone does not say how."""
    sends_ids: bool = False
    """Are the ids of its samples the trainer's own? Elsewhere they are places in the request."""

    @property
    def route(self) -> str:
        return f"/compat/{self.path}"

    @property
    def decoder(self) -> Callable[[bytes], Asked]:
        return self.decode or msgspec.json.Decoder(self.request).decode
