"""What a scorer is, one small protocol a kind: samples in, as many scores out, in the same order.

`runs_in` tells the kinds apart, for the type checker too: `if scorer.runs_in == "model":` makes it
a `ModelScorer`. A scorer raises only on our own bugs; what went wrong with one sample is that
sample's `Score`. `check.py` sees to all of this when a scorer is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from touchstone_rewards.reward_server.schemas import Sample, SampleError

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.models.config import ModelConfig

# inline: linear time, in the event loop; worker: a killable process; model: a batching thread;
# remote: asyncio I/O; group: all responses of a group at once
RunsIn = Literal["inline", "worker", "model", "remote", "group"]
Bound = float | None
# What it is for that a scorer cannot tell.
Undecided = Literal["truth", "response"]


class Score(Struct, frozen=True, omit_defaults=True, gc=False):
    """What one scorer says of one sample: a finite `value`, or null and the `error` why.

    `timed_out` is set by what keeps the deadline: the sample ran to the end of its own. `turns`: of
    a scorer that judges turns, its score of each message that the assistant wrote, null where it
    could not score it. `undecided`: the scorer ran and cannot tell, for what the ground truth or
    the response is. That pays nothing: the value is the least of the scorer's range, or null.
    """

    value: float | None = None
    error: SampleError | None = None
    explanation: dict[str, Any] | None = None
    timed_out: bool = False
    turns: list[float | None] | None = None
    undecided: Undecided | None = None


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


class Described(Protocol):
    """What every kind of scorer says of itself.

    `version` changes whenever a verdict can change: it is part of the fingerprint.
    `range` is the least and the greatest score, None where there is no bound. `reads` names the
    fields of a sample that the score depends on: no others are sent to a worker.
    """

    @property
    def version(self) -> str: ...
    @property
    def range(self) -> tuple[Bound, Bound]: ...
    @property
    def reads(self) -> tuple[str, ...]: ...


class InlineScorer(Described, Protocol):
    """A scorer that runs in the event loop: linear in the length of its text, microseconds.

    A sample too large for the loop goes to a worker, so it must survive being built there too.
    """

    @property
    def runs_in(self) -> Literal["inline"]: ...

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        """Score each sample: same order, same length. `explain` fills the explanations."""
        ...


class WorkerScorer(Described, Protocol):
    """A scorer that runs in a killable process, with a deadline and a memory limit a sample.

    `deterministic`: the same fields that it `reads` always get the same verdict, which may then be
    cached. Inline scorers are cheaper than a look into the cache, and models keep what they
    computed themselves. A class that does not say counts as not deterministic. One with
    `batch = True` is given the samples of a task at once, any other one after another; if the call
    fails, each by itself.
    """

    @property
    def runs_in(self) -> Literal["worker"]: ...
    @property
    def deterministic(self) -> bool: ...

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        """Score each sample: same order, same length. `explain` fills the explanations."""
        ...


class UsesModel(Described, Protocol):
    """What has a model. `version` ends in the model's digest: `use` sets both, when it is built and
    when it changes."""

    @property
    def model(self) -> ModelConfig: ...

    def use(self, model: ModelConfig, digest: str) -> None:
        """From now on, score with this model."""
        ...


class ModelScorer(UsesModel, Protocol):
    """A scorer whose numbers come from a model: it says what to run and judges what comes out."""

    @property
    def runs_in(self) -> Literal["model"]: ...

    def inputs(self, sample: Sample) -> Sequence[Any] | SampleError:
        """What the model must run for this sample."""
        ...

    def judge(self, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
        """The score, from the model's outputs of the sample's inputs."""
        ...


class RemoteScorer(Described, Protocol):
    """A scorer that waits for something else: an endpoint, a sandbox, an async function.

    It runs as a task of the event loop and must never hold it up. `max_in_flight`: the most
    samples that it has in hand at a time, over all requests. Each sample is a call of its own, so
    that it has a deadline of its own: at the deadline the call is cancelled. `deterministic` is
    that of `WorkerScorer`.
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
        """Score each sample: same order, same length.

        `give_up_at_s`: when the call will be cancelled, in the event loop's time; None for never.
        What the endpoint got wrong is a `Score` with `upstream_failed`.
        """
        ...


@runtime_checkable
class ProvenFirst(Protocol):
    """A remote scorer that holds its endpoint against something before the first sample.

    `about` is what `check` shows of it: how the proof came out, and under `unproven` the addresses
    that could not be asked.
    """

    about: dict[str, Any]

    async def make_ready(self, give_up_at_s: float) -> None:
        """Ask the endpoints for their proof; one that does not answer may be asked later.

        Raises:
            ConfigError: one fails its proof.
        """
        ...


@runtime_checkable
class Closing(Protocol):
    """A remote scorer that holds connections."""

    async def aclose(self) -> None:
        """Close them; calls in hand come to their end."""
        ...


class Member(NamedTuple):
    """One sample of a group, and what the scorers say of it that the group scorer names in `of`."""

    sample: Sample
    scores: Mapping[str, float]


class Ask(NamedTuple):
    """Samples that a group scorer wants another scorer, which runs in workers, to score first."""

    spec: ScorerSpec
    samples: Sequence[Sample]
    explain: bool = False


class AskModel(NamedTuple):
    """Inputs that a group scorer wants its model to run; for each an output or a `SampleError`."""

    inputs: Sequence[Any]


Judging = Generator[Ask | AskModel, list[Any], list[Score]]


class GroupScorer(Described, Protocol):
    """A scorer that sees all samples of one `group_id` together and scores each of them.

    `of`: keys of scorers of the same profile whose scores it needs. `asks`: the scorers that it may
    ask. `model`: the one that it may run; then it is a `UsesModel` too. `max_members`: a larger
    group is refused. Its scores must not depend on the members' order.
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
        """Score the members of one whole group: same order, same length.

        A method that only computes runs in a worker, unless it is one of ours and the group is
        small. One that yields an `Ask` or `AskModel` is answered, and does next to no work itself.
        """
        ...


# Those whose `score` a worker can call; a group scorer is packed as one, see `groups/packed.py`.
CallableScorer = InlineScorer | WorkerScorer
Scorer = InlineScorer | WorkerScorer | ModelScorer | RemoteScorer | GroupScorer
