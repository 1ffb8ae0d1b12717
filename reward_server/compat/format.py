"""What a foreign format is: two types, two pure functions, and where it is served.

In: nothing. Out: the pieces of which the files beside this one are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import RequestError
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    SampleError,
)

Asked = TypeVar("Asked")

# Whatever a dataset has: what can be none is its own sample's error, not the whole request's.


class FormatVerdict(Struct):
    """What a format has to tell of one sample: numbers only, the same `scores` for every sample.

    With `error`, the sample has no reward, and the operator's constant stands for every number.
    """

    reward: float
    scores: dict[str, float]
    error: SampleError | None = None


class Refused(Struct):
    """A sample that its trainer sent in a shape that cannot be scored, and why."""

    id: str
    error: SampleError


@dataclass(frozen=True)
class FixedAnswer:
    """A route that a trainer asks beside the one that scores, and that has nothing to decide."""

    method: str
    path: str
    summary: str
    answer: Any
    answer_to: Callable[[bytes], Any] | None = None
    """What is answered to a body, where it follows from the body alone; `answer` is an example."""


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
    samples: Callable[[Asked], Sequence[Sample | Refused]]
    body: Callable[[Asked, Sequence[FormatVerdict]], Any]
    texts: Callable[[Asked], list[str]] | None = None
    """The whole texts of the samples, of a format in which prompt and response come as one: a
    reward model with `template: plain` reads them as they came."""
    trajectories: Callable[[Asked], list[list[Message]]] | None = None
    """The samples' responses as messages, of a format that has rollouts of several turns."""
    own_keys: frozenset[str] = frozenset()
    """The numbers in the answer that are not the scorers': none of these may be called so."""
    received: Any = None
    """The request as it is decoded, where that is not its type: fields that are still text."""
    decode: Callable[[bytes], Asked] | None = None
    """Reads the body where the request's type alone does not say how."""
    refused: Callable[[RequestError], Any] | None = None
    """The body for a request that gets no results, and for a sample without a reward, of a format
    whose client makes a number of any other failure."""
    deadline_ms: float | None = None
    """How long its client waits, where that is less than the server's own deadline may be."""
    sends_ids: bool = False
    """Are the ids of its samples the trainer's own? Elsewhere they are places in the request."""

    @property
    def route(self) -> str:
        return f"/compat/{self.path}"

    @property
    def decoder(self) -> Callable[[bytes], Asked]:
        return self.decode or msgspec.json.Decoder(self.received or self.request).decode
