"""Protocols of the five kinds of scorers: samples in, one score per sample out, in order.

`runs_in` identifies the kind, for the type checker too: `if scorer.runs_in == "model":` narrows to
`ModelScorer`. A scorer raises only on bugs of its own; a fault of one sample is reported in that
sample's `Score`. `check.py` checks all of this when a scorer is loaded.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeGuard,
    runtime_checkable,
)

from msgspec import Struct

from touchstone_rewards.reward_server.schemas import Sample, SampleError

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.models.config import ModelConfig

# inline: linear time, in the event loop; worker: a killable process; model: a batching thread;
# remote: asyncio I/O; group: all responses of a group at once
RunsIn = Literal["inline", "worker", "model", "remote", "group"]
Bound = float | None
# Which side makes a scorer undecided.
Undecided = Literal["truth", "response"]


class Score(Struct, frozen=True, omit_defaults=True, gc=False):
    """One scorer's result for one sample: a finite `value`, or null with an `error`.

    `timed_out`: set by the enforcer of the deadline when the sample used up its own. `turns`: for a
    scorer that judges turns, the score of each assistant message, null if it could not be scored.
    `undecided`: the scorer ran but cannot tell, because of the ground truth or the response. Such a
    sample earns nothing: its value is the minimum of the scorer's range, or null.

    Example:
        >>> Score(0.5).value
        0.5
    """

    value: float | None = None
    error: SampleError | None = None
    explanation: dict[str, Any] | None = None
    timed_out: bool = False
    turns: list[float | None] | None = None
    undecided: Undecided | None = None


class ScorerSpec(NamedTuple):
    """How to build a scorer, in this process or in a worker: its name and config.

    `workers`: number of workers of its own; 0 means that it shares the server's.
    """

    name: str
    config: Mapping[str, Any]
    workers: int = 0

    @property
    def key(self) -> str:
        """Key under which profiles share a scorer: equal for equal name, config and workers."""
        own = f" workers={self.workers}" if self.workers else ""
        return f"{self.name} {json.dumps(self.config, sort_keys=True, default=str)}{own}"


class Described(Protocol):
    """Attributes common to all scorers; a class may leave out those with a default.

    `version`: must change whenever a verdict can change, as part of the fingerprint. `range`:
    minimum and maximum score, None if unbounded. `reads`: sample fields on which the score depends;
    only these are sent to a worker. `sees_turns`: a response that came as messages is given as
    messages, not as the last one's text; False by default. `any_truth`: takes a ground truth of any
    type; by default (False) a sample with one of no known form gets an error instead. `languages`:
    those in which it can score; None by default, for any.
    """

    @property
    def version(self) -> str: ...
    @property
    def range(self) -> tuple[Bound, Bound]: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def sees_turns(self) -> bool: ...
    @property
    def any_truth(self) -> bool: ...
    @property
    def languages(self) -> Sequence[str] | None: ...


class InlineScorer(Described, Protocol):
    """A scorer that runs in the event loop: linear in the length of its text, microseconds.

    A sample too large for the event loop is scored in a worker, so the scorer must be buildable
    there. `batch`: as for `WorkerScorer`.
    """

    @property
    def runs_in(self) -> Literal["inline"]: ...
    @property
    def batch(self) -> bool: ...

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        """Score each sample, in order; `explain` adds explanations."""
        ...


class WorkerScorer(Described, Protocol):
    """A scorer that runs in a killable process, with a deadline and a memory limit per sample.

    `deterministic`: equal values of the fields it `reads` always get equal verdicts, which may then
    be cached; False by default. Inline scorers are cheaper than a cache lookup, and models cache
    their own results. `batch`: it receives all samples of a task at once, and if that fails, one by
    one; False by default: one after another.
    """

    @property
    def runs_in(self) -> Literal["worker"]: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def batch(self) -> bool: ...

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        """Score each sample, in order; `explain` adds explanations."""
        ...


class UsesModel(Described, Protocol):
    """A scorer that has a model. `version` ends in the model's digest.

    `use` sets both, when the scorer is built and when the model changes.
    """

    @property
    def model(self) -> ModelConfig: ...

    def use(self, model: ModelConfig, digest: str) -> None:
        """Score with this model from now on."""
        ...


class ModelScorer(UsesModel, Protocol):
    """A scorer that prepares inputs for a model and turns its outputs into a score."""

    @property
    def runs_in(self) -> Literal["model"]: ...

    def inputs(self, sample: Sample) -> Sequence[Any] | SampleError:
        """Return the inputs that the model must run for this sample."""
        ...

    def judge(self, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
        """Return the score from the model's outputs for the sample's inputs."""
        ...


class RemoteScorer(Described, Protocol):
    """A scorer that waits for something else: an endpoint, a sandbox, an async function.

    It runs as a task of the event loop and must not block it. `max_in_flight`: largest number of
    samples processed concurrently, over all requests. Each sample is a separate call with its own
    deadline, at which the call is cancelled. `deterministic`: as for `WorkerScorer`.
    """

    @property
    def runs_in(self) -> Literal["remote"]: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def max_in_flight(self) -> int: ...

    async def score(
        self, samples: Sequence[Sample], *, explain: bool = False, give_up_at_s: float | None = None
    ) -> list[Score]:
        """Score each sample, in order.

        `give_up_at_s`: when the call will be cancelled, on the event loop's clock; None means
        never. A fault of the endpoint is a `Score` with `upstream_failed`.
        """
        ...


@runtime_checkable
class ProvenFirst(Protocol):
    """A remote scorer that checks its endpoints before the first sample.

    `about`: shown by `check`; the result of the check, and under `unproven` the addresses that
    could not be reached.
    """

    about: dict[str, Any]

    async def make_ready(self, give_up_at_s: float) -> None:
        """Check the endpoints; one that does not answer may be checked later.

        Raises:
            ConfigError: an endpoint fails the check.
        """
        ...


@runtime_checkable
class Closing(Protocol):
    """A remote scorer that holds connections."""

    async def aclose(self) -> None:
        """Close the connections after the calls in progress."""
        ...


class ReportsModel(ABC):
    """Base of a remote scorer whose model's name, as its endpoint reports it, is part of the
    fingerprint."""

    @property
    @abstractmethod
    def reported(self) -> str:
        """Model name in the endpoint's answers; "" before the first answer."""


class Member(NamedTuple):
    """One sample of a group, and its scores by the scorers named in the group scorer's `of`."""

    sample: Sample
    scores: Mapping[str, float]


class Ask(NamedTuple):
    """Request of a group scorer: score these samples with another scorer, which runs in workers."""

    spec: ScorerSpec
    samples: Sequence[Sample]
    explain: bool = False


class AskModel(NamedTuple):
    """Request of a group scorer: run its model on these inputs. Each gets an
    output or a `SampleError`."""

    inputs: Sequence[Any]


Judging = Generator[Ask | AskModel, list[Any], list[Score]]


class GroupScorer(Described, Protocol):
    """A scorer that sees all samples of one `group_id` together and scores each of them.

    `of`: keys of scorers of the same profile whose scores it needs. `asks`: the scorers that it may
    ask. `model`: the model that it may run; then it is a `UsesModel` too. `max_members`: larger
    groups are refused. A class may leave out each of these. Scores must not depend on the order of
    the members.
    """

    @property
    def runs_in(self) -> Literal["group"]: ...
    @property
    def of(self) -> tuple[str, ...]: ...
    @property
    def asks(self) -> tuple[ScorerSpec, ...]: ...
    @property
    def model(self) -> ModelConfig | None: ...
    @property
    def max_members(self) -> int: ...

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score] | Judging:
        """Score the members of one whole group, in order.

        A plain method runs in a worker, unless the scorer is built in and the group is small. A
        generator may yield `Ask` or `AskModel`; it must do almost no work itself.
        """
        ...


class ModelGroupScorer(GroupScorer, UsesModel, Protocol):
    """A group scorer that has a model."""

    @property
    def model(self) -> ModelConfig: ...


# Scorers whose `score` can be called in a worker; a group scorer is packed as one, see
# `groups/packed.py`.
CallableScorer = InlineScorer | WorkerScorer
Scorer = InlineScorer | WorkerScorer | ModelScorer | RemoteScorer | GroupScorer


def has_model(scorer: Scorer) -> TypeGuard[ModelScorer | ModelGroupScorer]:
    """Tell whether a scorer has a model; the type checker then knows it as a `UsesModel`."""
    return scorer.runs_in == "model" or (scorer.runs_in == "group" and scorer.model is not None)
