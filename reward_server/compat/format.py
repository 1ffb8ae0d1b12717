"""The description of a foreign format: its route, the types of its bodies, two pure functions."""

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


class FormatVerdict(Struct):
    """The numbers for one sample; `scores` has the same keys for every sample of a request.

    If `error` is set, the sample has no reward, and the operator's constant replaces every number.
    """

    reward: float
    scores: dict[str, float]
    error: SampleError | None = None


class Refused(Struct):
    """A sample that the trainer sent in a form that cannot be scored, and the reason."""

    id: str
    error: SampleError


@dataclass(frozen=True)
class FixedAnswer:
    """A route that a trainer calls beside the scoring route; its answer needs no scorer."""

    method: str
    path: str
    summary: str
    answer: Any
    answer_to: Callable[[bytes], Any] | None = None
    """Makes the answer from the request's body. Without it, `answer` is sent; with it, `answer` is
    an example for the documentation."""


@dataclass(frozen=True)
class Format(Generic[Asked]):
    """One foreign format.

    `name` is its key in the settings, `path` its route below `/compat`, `request` and `answer` the
    types of its bodies. `samples` reads a request, `body` makes the answer.
    """

    name: str
    path: str
    summary: str
    example: dict[str, Any]
    request: Any
    answer: Any
    samples: Callable[[Asked], Sequence[Sample | Refused]]
    body: Callable[[Asked, Sequence[FormatVerdict]], Any]
    texts: Callable[[Asked], list[str]] | None = None
    """Returns each sample's prompt and response as the one text in which they were sent. A reward
    model with `template: plain` reads this text."""
    trajectories: Callable[[Asked], list[list[Message]]] | None = None
    """Returns the responses as messages, for formats with rollouts of several turns."""
    own_keys: frozenset[str] = frozenset()
    """Names of numbers in the answer that are no scores. No scorer may have such a name."""
    received: Any = None
    """The type to decode a request into if it is not `request`: some fields stay JSON text."""
    decode: Callable[[bytes], Asked] | None = None
    """Decodes the body, for requests that their type alone does not describe."""
    refused: Callable[[RequestError], Any] | None = None
    """Makes the answer for a refused request or a sample without a reward, for clients that turn
    any other failure into a number."""
    deadline_ms: float | None = None
    """The time that its client waits, if that is less than the server's default deadline."""
    sends_ids: bool = False
    """Whether the trainer sends sample ids. Otherwise ids are positions in the request."""

    @property
    def route(self) -> str:
        return f"/compat/{self.path}"

    @property
    def decoder(self) -> Callable[[bytes], Asked]:
        return self.decode or msgspec.json.Decoder(self.received or self.request).decode
