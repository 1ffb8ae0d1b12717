"""A request through a profile: fan out to the scorers, combine, answer in order.

In: a decoded `ScoreRequest`. Out: a `ScoreResponse` with one result a sample. It knows nothing of
HTTP: the app and the `score` command use it alike.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import (
    NotReady,
    RequestDeadline,
    UnknownProfile,
    sample_error,
)
from touchstone_rewards.reward_server.limits import SampleLimits
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.profiles import Profile, worker_specs
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec
from touchstone_rewards.reward_server.scoring.combine import Scored, combine
from touchstone_rewards.reward_server.scoring.ground_truths import unreadable_truths
from touchstone_rewards.reward_server.scoring.inline import InlineScorers
from touchstone_rewards.reward_server.scoring.model_host import (
    BatcherMaker,
    ModelHost,
    ModelScorer,
    batcher,
)
from touchstone_rewards.reward_server.scoring.normalization import Normalizers, finished
from touchstone_rewards.reward_server.scoring.routing import part, score_parts
from touchstone_rewards.reward_server.scoring.together import together
from touchstone_rewards.reward_server.scoring.verdict_cache import VerdictCache, cache_readings
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.telemetry.tracer import Attribute, NoTracer, Tracer

logger = logging.getLogger(__name__)

# The attribute of a span that counts its samples.
SAMPLES = "touchstone.samples"
# What a killed server forgets of the running normalization.
SAVE_EVERY_S = 5.0
# Told of every request that counts, and what it was answered.
Observer = Callable[[ScoreRequest, ScoreResponse], None]
PoolMaker = Callable[[Mapping[str, ScorerSpec], Settings], WorkerPool]


class Engine:
    """Profiles and the workers behind them. `start` before the first request, `stop` at the end.

    `profiles` are those of `models` too: `reload.py` exchanges what is in them. Before the start,
    `normalizers` may be replaced by ones that outlive this process, and `tracer` by one that keeps
    spans.
    """

    def __init__(
        self,
        profiles: dict[str, Profile],
        pool: WorkerPool,
        models: ModelHost,
        limits: SampleLimits,
        metrics: Metrics,
        cache: VerdictCache,
    ) -> None:
        self.profiles = profiles
        self.pool = pool
        self.models = models
        self.limits = limits
        self.metrics = metrics
        self.cache = cache
        self.observers: list[Observer] = []
        self.inline = InlineScorers(pool)
        self.normalizers = Normalizers()
        self.tracer: Tracer = NoTracer()
        self._saver: asyncio.Task[None] | None = None
        self.pending_samples = 0
        self.draining = False
        self._started = False
        self.ready_since = ""

    async def start(self) -> None:
        """Start the workers, load the models.

        Raises:
            ConfigError: a scorer cannot be built in a worker, a model cannot be served, or what an
                earlier run left cannot be read.
        """
        self.normalizers.load(self.profiles)
        await self.pool.start()
        try:
            await self.models.start()
        except BaseException:
            await self.pool.stop()
            raise
        self._saver = asyncio.create_task(self._keep_saving())
        self._started = True
        self.ready_since = datetime.now(UTC).isoformat(timespec="seconds")

    async def stop(self) -> None:
        self._started = False
        if self._saver is not None:
            self._saver.cancel()
            self.normalizers.save(self.normalizers.unsaved(self.profiles))
        self.normalizers.close()
        await self.models.stop()
        await self.pool.stop()

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await asyncio.to_thread(self.normalizers.save, self.normalizers.unsaved(self.profiles))

    @property
    def not_ready_reason(self) -> str | None:
        """Why requests are turned away now, or None."""
        if self.draining:
            return "draining: the server is going down"
        if not self._started:
            loading = self.models.not_ready_reason if self.pool.alive else None
            return f"starting: {loading or 'workers are not up yet'}"
        if self.pool.alive == 0:
            return "no worker is alive; new ones are being started"
        return self.models.not_ready_reason

    async def score(self, request: ScoreRequest, *, observed: bool = True) -> ScoreResponse:
        """Score every sample of the request. Not `observed`: it counts in no statistics.

        Raises:
            UnknownProfile, RequestTooLarge, QueueFull, NotReady: nothing was scored.
            RequestDeadline: not one sample got its turn before the deadline.
        """
        started = time.perf_counter()
        profile = self.check_admitted(request.profile, len(request.samples))
        fingerprint = profile.fingerprint
        served = current()
        served.profile = profile.name
        count = len(request.samples)
        with served.room(count):
            self.pending_samples += count
            try:
                learn = observed and request.priority == "train"
                scored = await self._scored(profile, request, learn)
            finally:
                self.pending_samples -= count
        served.note(profile.name, request.samples, scored.results, scored.columns.errors)
        elapsed_ms = round((time.perf_counter() - started) * 1e3, 3)
        answer = ScoreResponse(scored.results, profile.name, fingerprint, elapsed_ms)
        if observed:
            self.metrics.observe_columns(profile.info, scored.columns)
            for observe in self.observers:
                try:
                    observe(request, answer)
                except Exception:  # the answer is sent, whatever a watcher makes of it
                    logger.exception("an observer failed on a request for %s", answer.profile)
        return answer

    def waits(self, profile: str) -> bool:
        """Does this profile wait for workers or models, so that a caller may hang up meanwhile?"""
        known = self.profiles.get(profile)
        return known is not None and known.waits

    def check_admitted(self, profile: str, count: int) -> Profile:
        """The profile, if `count` samples for it may be scored now.

        Raises:
            UnknownProfile, RequestTooLarge, QueueFull, NotReady: as for `score`.
        """
        known = self.profiles.get(profile)
        if known is None:
            names = ", ".join(self.profiles)
            raise UnknownProfile(f"profile {profile!r:.200} is not known; known: {names}")
        if self.draining or not self._started:
            raise NotReady(f"{self.not_ready_reason}; try again or elsewhere")
        self.limits.admit(count, self.pending_samples)
        return known

    async def _scored(self, profile: Profile, request: ScoreRequest, learn: bool) -> Scored:
        give_up_at = self.give_up_at(request.deadline_ms)
        parted = part(profile, request.samples)
        if parted is None:
            scored = await self._combined(profile, request, give_up_at, learn)
        else:
            combined = partial(self._combined, give_up_at=give_up_at, learn=learn)
            scored = await score_parts(profile, request, parted, combined)
            self.metrics.observe_routed(profile.name, parted.counts)
        if scored.results and all(map(_never_got_its_turn, scored.results)):
            raise RequestDeadline(
                f"none of {len(scored.results)} samples got its turn before the deadline; send "
                "fewer samples or a longer deadline_ms"
            )
        return scored

    async def _combined(
        self,
        profile: Profile,
        request: ScoreRequest,
        give_up_at: float | None,
        learn: bool,
        keys: Sequence[str] = (),
    ) -> Scored:
        columns = await together(
            [self.column(profile, key, request, give_up_at) for key in profile.scorers]
        )
        by_key = dict(zip(profile.scorers, columns, strict=True))
        scored = combine(profile, request.samples, by_key, explain=request.explain, keys=keys)
        return finished(self.normalizers, profile, scored, learn=learn)

    def give_up_at(self, deadline_ms: float | None) -> float | None:
        """When a request with this deadline, or with none, gets its answer at the latest."""
        deadline_s = self.limits.request_deadline_s
        if deadline_ms is not None:
            deadline_s = min(deadline_s, deadline_ms / 1e3)
        now_s = asyncio.get_running_loop().time()
        return now_s + deadline_s if math.isfinite(deadline_s) else None

    async def column(
        self, profile: Profile, key: str, request: ScoreRequest, give_up_at: float | None
    ) -> list[Score]:
        """One scorer's scores of all samples. A response beyond the limit is not looked at, nor a
        ground truth that is neither text nor number."""
        limit = self.limits.max_response_bytes
        samples = request.samples
        refused: dict[int, Score] = {}
        # A character takes at most four bytes: short responses need no encoding to be let through.
        if 4 * max((len(sample.response) for sample in samples), default=0) > limit:
            refused = {
                i: _too_large(limit)
                for i, sample in enumerate(samples)
                if len(sample.response.encode()) > limit
            }
        if "ground_truth" in profile.scorers[key].reads:
            refused = unreadable_truths(samples) | refused
        if refused:
            samples = [sample for i, sample in enumerate(samples) if i not in refused]
        with self.tracer.span("scorer", key, lambda: _about(profile, key, request)):
            began_s = time.perf_counter()
            try:
                found = await self._scores(profile, key, samples, request, give_up_at)
            finally:
                took_s = time.perf_counter() - began_s
                self.metrics.observe_scorer(profile.specs[key].name, took_s)
            self.tracer.annotate("touchstone.failures", lambda: len(refused) + _failures(found))
        if not refused:
            return found
        rest = iter(found)
        return [refused.get(i) or next(rest) for i in range(len(request.samples))]

    async def _scores(
        self,
        profile: Profile,
        key: str,
        samples: Sequence[Sample],
        request: ScoreRequest,
        give_up_at: float | None,
    ) -> list[Score]:
        scorer, explain = profile.scorers[key], request.explain
        if scorer.runs_in == "model":
            open_fields(samples, scorer.reads)
            modelled = cast(ModelScorer, scorer)
            about = {"explain": explain, "give_up_at": give_up_at, "priority": request.priority}
            label = modelled.model.label
            with self.tracer.span("model", label, lambda: {SAMPLES: len(samples)}):
                return await self.models.score(modelled, samples, **about)

        def in_workers(samples: Sequence[Sample]) -> Awaitable[list[Score]]:
            return self._in_workers(profile, key, samples, request, give_up_at)

        if scorer.runs_in == "inline":
            spec, spec_key = profile.specs[key], profile.spec_keys[key]
            about = spec_key, spec, scorer, samples, explain, give_up_at
            return await self.inline.score(*about, in_workers)
        return await in_workers(samples)

    async def _in_workers(
        self,
        profile: Profile,
        key: str,
        samples: Sequence[Sample],
        request: ScoreRequest,
        give_up_at: float | None,
    ) -> list[Score]:
        scorer, spec_key = profile.scorers[key], profile.spec_keys[key]
        options = {
            "explain": request.explain,
            "give_up_at": give_up_at,
            "after_s": self.limits.eval_wait_s if request.priority == "eval" else 0.0,
            "deadline_s": profile.entries[key].deadline_s,
        }
        run_count = 0

        async def run(samples: Sequence[Sample], **more: Any) -> list[Score]:
            nonlocal run_count
            run_count += len(samples)
            with self.tracer.span("workers", "", lambda: {SAMPLES: len(samples)}):
                return await self.pool.score(spec_key, samples, **options, **more)

        if not (self.cache.max_bytes and getattr(scorer, "deterministic", False)):
            return await run(samples)
        about = f"{spec_key} {scorer.version} {request.explain}"
        found = await self.cache.score(about, scorer.reads, samples, run, give_up_at=give_up_at)
        self.tracer.annotate("touchstone.cache_hits", lambda: len(samples) - run_count)
        return found


def by_profile(
    observe: Callable[[str, Sequence[Sample], Sequence[SampleResult]], None],
) -> Observer:
    """An observer of the profile's name, the samples and their results, and of nothing else."""
    return lambda request, answer: observe(answer.profile, request.samples, answer.results)


def _about(profile: Profile, key: str, request: ScoreRequest) -> dict[str, Attribute]:
    return {
        "touchstone.scorer": profile.specs[key].name,
        "touchstone.runs_in": profile.scorers[key].runs_in,
        SAMPLES: len(request.samples),
    }


def _failures(scores: Sequence[Score]) -> int:
    return sum(score.error is not None for score in scores)


def _too_large(limit: int) -> Score:
    message = f"the response has more than {limit} bytes, which this server takes at most"
    return Score(error=sample_error("response_too_large", message))


def _never_got_its_turn(result: SampleResult) -> bool:
    error = result.error
    return error is not None and error.code == "deadline_exceeded" and error.retryable


def worker_pool(specs: Mapping[str, ScorerSpec], settings: Settings) -> WorkerPool:
    """The pool that `settings` describe, not yet started."""
    settings.plugins.make_importable()
    return WorkerPool(
        specs,
        workers=settings.workers,
        sample_deadline_s=settings.sample_deadline_s,
        memory_limit_bytes=settings.worker_memory_bytes,
        recycle_after=settings.worker_max_samples,
    )


def create_engine(
    profiles: Mapping[str, Profile],
    settings: Settings,
    metrics: Metrics,
    make_pool: PoolMaker = worker_pool,
    make_batcher: BatcherMaker = batcher,
) -> Engine:
    """The engine that `settings` describe, not yet started; workers and models stand in this
    process's own pool and threads, unless other ones are made."""
    profiles = dict(profiles)
    pool = make_pool(worker_specs(profiles), settings)
    limits = SampleLimits(
        max_samples=settings.max_samples,
        max_response_bytes=settings.max_response_bytes,
        max_pending_samples=settings.max_pending_samples,
        request_deadline_s=settings.request_deadline_s,
        eval_wait_s=settings.eval_wait_s,
    )
    models = ModelHost(profiles, settings.other_models, make_batcher)
    cache = VerdictCache(settings.cache_bytes)
    metrics.watch_pool(pool)
    metrics.watch(cache_readings(cache))
    metrics.watch_models(models.batchers)
    return Engine(profiles, pool, models, limits, metrics, cache)
