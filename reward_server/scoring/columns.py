"""Fill a column: one scorer's scores of a request's samples, run where its kind runs.

A column has a score or an error for each sample, in their order. Responses that are too long and
ground truths of an unknown form get an error without being scored.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from touchstone_rewards.reward_server.errors import InternalError
from touchstone_rewards.reward_server.limits import SampleLimits
from touchstone_rewards.reward_server.pool.pools import WorkerPools
from touchstone_rewards.reward_server.profile_config import ScorerEntry
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.remote.together import together
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scorers.base import (
    InlineScorer,
    ModelScorer,
    RemoteScorer,
    Score,
    WorkerScorer,
)
from touchstone_rewards.reward_server.scoring.gather import How
from touchstone_rewards.reward_server.scoring.groups import GroupScorers
from touchstone_rewards.reward_server.scoring.inline import InlineScorers
from touchstone_rewards.reward_server.scoring.model_host import ModelHost
from touchstone_rewards.reward_server.scoring.refused import looked_at, refusals
from touchstone_rewards.reward_server.scoring.remote import RemoteScorers
from touchstone_rewards.reward_server.scoring.turns import Turns, as_came, too_long
from touchstone_rewards.reward_server.scoring.verdict_cache import VerdictCache
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.telemetry.tracer import NO_TRACER, Attribute, Tracer

# The span attribute for the number of samples.
SAMPLES = "touchstone.samples"
# At most this many samples are scored without yielding to other tasks.
FEW_SAMPLES = 64


class AskedColumn(Struct, frozen=True):
    """A column to fill: the profile, the scorer's key, the request and how to score it."""

    profile: Profile
    key: str
    request: ScoreRequest
    how: How


class ScorerColumns:
    """Runs the scorers of each kind. `tracer` may be replaced before the first request."""

    def __init__(
        self,
        pool: WorkerPools,
        models: ModelHost,
        remote: RemoteScorers,
        limits: SampleLimits,
        metrics: Metrics,
        cache: VerdictCache,
    ) -> None:
        self.pool = pool
        self.models = models
        self.remote = remote
        self.inline = InlineScorers(pool)
        self.limits = limits
        self.metrics = metrics
        self.cache = cache
        self.groups = GroupScorers(self.ask, self.run, models.run, self.refused)
        self.tracer: Tracer = NO_TRACER

    def at_once(self, profile: Profile, request: ScoreRequest) -> dict[str, list[Score]]:
        """Return the columns that need no waiting: a few samples, inline scorers known to be
        quick. `fill` handles the others."""
        samples = request.samples
        columns: dict[str, list[Score]] = {}  # calling `dict[str, list[Score]]` costs 1 µs more
        if self.tracer is not NO_TRACER or len(samples) > FEW_SAMPLES:
            return columns
        for key, scorer in profile.scorers.items():
            if scorer.runs_in != "inline" or key in profile.turn_keys:
                continue
            began_s = time.perf_counter()
            if refusals(samples, scorer.reads, self.limits.max_response_bytes):
                continue
            found = self.inline.at_once(profile.spec_keys[key], scorer, samples, request.explain)
            if found is not None:
                columns[key] = found
                took_s = time.perf_counter() - began_s
                self.metrics.scorer_seconds.observe_one((profile.specs[key].name,), took_s)
        return columns

    async def all_of(
        self, profile: Profile, request: ScoreRequest, give_up_at_s: float | None
    ) -> dict[str, list[Score]]:
        """Return the columns of the scorers that need no group, quick ones first."""
        found, keys = self.at_once(profile, request), profile.single_keys
        fill = self.fill if profile.turn_keys else self._fill
        if len(found) + 1 == len(keys):  # as usual; `together` would cost about 1 µs
            (missing,) = set(keys).difference(found)
            found[missing] = await fill(profile, missing, request, give_up_at_s)
        elif len(found) < len(keys):
            missing = [key for key in keys if key not in found]
            fills = [fill(profile, key, request, give_up_at_s) for key in missing]
            found |= zip(missing, await together(fills), strict=True)
        return {key: found[key] for key in keys}

    # These return the inner coroutine instead of awaiting it: each `await` level costs time.
    def fill(
        self, profile: Profile, key: str, request: ScoreRequest, give_up_at_s: float | None
    ) -> Coroutine[None, None, list[Score]]:
        """Return one scorer's scores of all samples of the request."""
        fill = self._turns if key in profile.turn_keys else self._fill
        return fill(profile, key, request, give_up_at_s)

    async def _turns(
        self, profile: Profile, key: str, request: ScoreRequest, give_up_at_s: float | None
    ) -> list[Score]:
        """Return the scores of a scorer that judges turns, all at once or turn by turn."""
        fold = profile.entries[key].turns
        refused = self.refused(request.samples, ()) | too_long(request.samples)
        samples = [sample for at, sample in enumerate(request.samples) if at not in refused]
        if fold is None:
            inner = replace(request, samples=list(map(as_came, samples)))
            scores = await self._fill(profile, key, inner, give_up_at_s)
        else:
            turns = Turns(samples, fold)
            sees_turns = profile.scorers[key].sees_turns
            given = list(map(as_came, turns.samples)) if sees_turns else turns.samples
            inner = replace(request, samples=given)
            scores = turns.folded(
                await self._fill(profile, key, inner, give_up_at_s), explain=request.explain
            )
        rest = iter(scores)
        return [refused.get(at) or next(rest) for at in range(len(request.samples))]

    async def _fill(
        self, profile: Profile, key: str, request: ScoreRequest, give_up_at_s: float | None
    ) -> list[Score]:
        scorer, samples, found = profile.scorers[key], request.samples, None
        refused = refusals(samples, looked_at(scorer), self.limits.max_response_bytes)
        if refused:
            samples = [sample for i, sample in enumerate(samples) if i not in refused]
        began_s = time.perf_counter()
        try:
            if scorer.runs_in == "inline" and self.tracer is NO_TRACER:
                about = profile.spec_keys[key], scorer, samples, request.explain
                found = self.inline.at_once(*about)
            if found is None:
                how = How(request.explain, give_up_at_s, request.priority)
                asked = AskedColumn(profile, key, request, how)
                fill = self._scores if self.tracer is NO_TRACER else self._traced
                found = await fill(asked, samples)
        finally:
            took_s = time.perf_counter() - began_s
            self.metrics.scorer_seconds.observe_one((profile.specs[key].name,), took_s)
        if not refused:
            return found
        rest = iter(found)
        return [refused.get(i) or next(rest) for i in range(len(request.samples))]

    async def _traced(self, asked: AskedColumn, samples: Sequence[Sample]) -> list[Score]:
        profile, key, request = asked.profile, asked.key, asked.request
        with self.tracer.span("scorer", key, lambda: _about(profile, key, request)):
            found = await self._scores(asked, samples)
            refused = len(request.samples) - len(samples)
            self.tracer.annotate("touchstone.failures", lambda: refused + _failures(found))
        return found

    def refused(self, samples: Sequence[Sample], reads: Sequence[str]) -> dict[int, Score]:
        """Return the indices of samples that a scorer with these `reads` must not see, each with
        its error."""
        return refusals(samples, reads, self.limits.max_response_bytes)

    def _scores(
        self, asked: AskedColumn, samples: Sequence[Sample]
    ) -> Coroutine[None, None, list[Score]]:
        """Return the scores of these samples, run according to the kind of the scorer."""
        profile, key, how = asked.profile, asked.key, asked.how
        scorer, spec_key = profile.scorers[key], profile.spec_keys[key]
        if scorer.runs_in == "worker":
            if self.cache.max_bytes and scorer.deterministic:
                in_pool = partial(self._in_pool, asked)
                return self._from_cache(spec_key, scorer, samples, how, in_pool)
            entry = profile.entries[key]
            return self.run(spec_key, samples, how, entry.deadline_s, entry.memory_bytes)
        if scorer.runs_in == "inline":
            return self._inline(asked, scorer, samples)
        if scorer.runs_in == "model":
            return self._model(asked, scorer, samples)
        if scorer.runs_in == "remote":
            return self._remote(asked, scorer, samples)
        raise InternalError(f"scorer {asked.key!r} sees whole groups: `groups.py` fills its column")

    async def _inline(
        self, asked: AskedColumn, scorer: InlineScorer, samples: Sequence[Sample]
    ) -> list[Score]:
        profile, key, request, how = asked.profile, asked.key, asked.request, asked.how

        def in_workers(samples: Sequence[Sample]) -> Awaitable[list[Score]]:
            return self._in_pool(asked, samples)

        spec, spec_key = profile.specs[key], profile.spec_keys[key]
        about = spec_key, spec, scorer, samples, request.explain, how.give_up_at_s
        return await self.inline.score(*about, in_workers)

    async def _model(
        self, asked: AskedColumn, scorer: ModelScorer, samples: Sequence[Sample]
    ) -> list[Score]:
        how = asked.how
        with self.tracer.span("model", scorer.model.label, lambda: {SAMPLES: len(samples)}):
            return await self.models.score(
                scorer,
                samples,
                explain=how.explain,
                give_up_at_s=how.give_up_at_s,
                priority=how.priority,
            )

    async def _remote(
        self, asked: AskedColumn, scorer: RemoteScorer, samples: Sequence[Sample]
    ) -> list[Score]:
        open_fields(samples, scorer.reads)
        profile, key = asked.profile, asked.key
        about = profile.spec_keys[key], scorer, samples, asked.how, profile.entries[key]
        return await self.ask(*about)

    async def _far(
        self,
        spec_key: str,
        scorer: RemoteScorer,
        samples: Sequence[Sample],
        how: How,
        entry: ScorerEntry,
        **more: Any,
    ) -> list[Score]:
        """Return the scores of a remote scorer, with the limits of the profile's entry."""
        with self.tracer.span("remote", "", lambda: {SAMPLES: len(samples)}):
            return await self.remote.score(
                spec_key,
                scorer,
                samples,
                explain=how.explain,
                give_up_at_s=how.give_up_at_s,
                deadline_s=entry.deadline_s,
                max_in_flight=entry.max_in_flight,
                **more,
            )

    def _cached(
        self,
        spec_key: str,
        scorer: WorkerScorer | RemoteScorer,
        samples: Sequence[Sample],
        how: How,
        score: Callable[..., Coroutine[None, None, list[Score]]],
    ) -> Coroutine[None, None, list[Score]]:
        """Return the scores of these samples; a deterministic scorer's come from the cache if
        they are there."""
        if not (self.cache.max_bytes and scorer.deterministic):
            return score(samples)
        return self._from_cache(spec_key, scorer, samples, how, score)

    async def _from_cache(
        self,
        spec_key: str,
        scorer: WorkerScorer | RemoteScorer,
        samples: Sequence[Sample],
        how: How,
        score: Callable[..., Coroutine[None, None, list[Score]]],
    ) -> list[Score]:
        ran: set[int] = set()

        async def run(samples: Sequence[Sample], **more: Any) -> list[Score]:
            ran.update(map(id, samples))
            return await score(samples, **more)

        about, ends_at_s = f"{spec_key} {scorer.version} {how.explain}", how.give_up_at_s
        found = await self.cache.score(about, scorer.reads, samples, run, give_up_at_s=ends_at_s)
        hits = len(samples) - len(ran)
        self.tracer.annotate("touchstone.cache_hits", lambda: hits)
        if not hits or scorer.runs_in != "remote":
            return found
        if isinstance(scorer, CallsEndpoints) and scorer.usage is not None:
            scorer.usage["cache_hits"] += hits
        known = [id(sample) not in ran for sample in samples]
        return [_marked(*each) for each in zip(found, known, strict=True)]

    async def ask(
        self,
        spec_key: str,
        scorer: WorkerScorer | RemoteScorer,
        samples: Sequence[Sample],
        how: How,
        entry: ScorerEntry,
    ) -> list[Score]:
        """Return a scorer's scores of these samples, cached ones included. The scorer runs for
        itself or for a scorer of groups that asks it; `entry` is that of the profile's scorer."""

        async def run(samples: Sequence[Sample], **more: Any) -> list[Score]:
            if scorer.runs_in == "remote":
                return await self._far(spec_key, scorer, samples, how, entry, **more)
            return await self.run(spec_key, samples, how, entry.deadline_s, **more)

        return await self._cached(spec_key, scorer, samples, how, run)

    def run(
        self,
        spec_key: str,
        samples: Sequence[Sample],
        how: How,
        deadline_s: float | None,
        memory_bytes: int | None = None,
        **more: Any,
    ) -> Coroutine[None, None, list[Score]]:
        """Return the scores of these samples from the worker pool; in a span, if traced."""
        scores = self.pool.of(spec_key).score(
            spec_key,
            samples,
            explain=how.explain,
            give_up_at_s=how.give_up_at_s,
            after_s=self.limits.eval_wait_s if how.priority == "eval" else 0.0,
            deadline_s=deadline_s,
            memory_bytes=memory_bytes,
            **more,
        )
        return scores if self.tracer is NO_TRACER else self._in_span(scores, len(samples))

    async def _in_span(self, scores: Coroutine[None, None, list[Score]], count: int) -> list[Score]:
        with self.tracer.span("workers", "", lambda: {SAMPLES: count}):
            return await scores

    def _in_pool(
        self, asked: AskedColumn, samples: Sequence[Sample], **more: Any
    ) -> Coroutine[None, None, list[Score]]:
        """Return the scores of these samples from the worker pool, with the entry's limits."""
        profile, key = asked.profile, asked.key
        entry, about = profile.entries[key], (profile.spec_keys[key], samples, asked.how)
        return self.run(*about, entry.deadline_s, entry.memory_bytes, **more)


def _about(profile: Profile, key: str, request: ScoreRequest) -> dict[str, Attribute]:
    return {
        "touchstone.scorer": profile.specs[key].name,
        "touchstone.runs_in": profile.scorers[key].runs_in,
        SAMPLES: len(request.samples),
    }


def _marked(score: Score, known: bool) -> Score:
    """Return the score, marked in its explanation as taken from the cache if `known`."""
    if not known or score.explanation is None:
        return score
    return replace(score, explanation=score.explanation | {"cached": True})


def _failures(scores: Sequence[Score]) -> int:
    return sum(score.error is not None for score in scores)
