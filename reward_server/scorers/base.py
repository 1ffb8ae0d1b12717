"""What a scorer is: samples in, as many scores out, in the same order.

A scorer raises only on our own bugs; what went wrong with one sample is that sample's `Score`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from msgspec import Struct

from touchstone_rewards.reward_server.schemas import Sample, SampleError

# inline: linear time, in the event loop; worker: a killable process; model: a batching thread
RunsIn = Literal["inline", "worker", "model"]


class Score(Struct, frozen=True, omit_defaults=True, gc=False):
    """What one scorer says of one sample: a finite `value`, or null and the `error` why.

    `timed_out` is the worker pool's to set: the sample ran to the end of its own deadline.
    """

    value: float | None = None
    error: SampleError | None = None
    explanation: dict[str, Any] | None = None
    timed_out: bool = False


class ScorerSpec(NamedTuple):
    """How to build a scorer, in this process or in a worker: its name and its config.

    `workers`: how many are its own; with 0 it shares those of the server.
    """

    name: str
    config: Mapping[str, Any]
    workers: int = 0

    @property
    def key(self) -> str:
        """The same for the same scorer with the same config: profiles share what they can."""
        own = f" workers={self.workers}" if self.workers else ""
        return f"{self.name} {json.dumps(self.config, sort_keys=True, default=str)}{own}"


class Scorer(Protocol):
    """Code that scores samples.

    `version` changes whenever a verdict can change: it is part of the fingerprint.
    `range` is the least and the greatest score. `reads` names the fields of a sample that the
    score depends on: no others are sent to a worker.

    A scorer that runs in a worker may have a further attribute, `deterministic = True`: the same
    fields that it `reads` always get the same verdict, which may then be cached. Inline scorers are
    cheaper than a look into the cache, and models keep what they computed themselves.
    """

    version: ClassVar[str]
    range: ClassVar[tuple[float, float]]
    runs_in: ClassVar[RunsIn]
    reads: ClassVar[tuple[str, ...]]

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        """Score each sample: same order, same length. `explain` fills the explanations."""
        ...
