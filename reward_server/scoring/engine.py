"""Score a request with its profile: fan out to the scorers, combine, answer in order.

It takes a decoded `ScoreRequest` and returns a `ScoreResponse` with one result per sample. It knows
nothing of HTTP: the app and the `score` command both use it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from msgspec import UNSET
from msgspec.structs import replace

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import NotReady, UnknownProfile
from touchstone_rewards.reward_server.limits import SampleLimits, SharedCounts
from touchstone_rewards.reward_server.pool.pools import WorkerPools, worker_pools
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.routes import link
from touchstone_rewards.reward_server.schemas import (
    ProfileInfo,
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec
from touchstone_rewards.reward_server.scoring.cascades import cascaded
from touchstone_rewards.reward_server.scoring.columns import ScorerColumns
from touchstone_rewards.reward_server.scoring.combine import Scored, check_any_turn, combine
from touchstone_rewards.reward_server.scoring.elsewhere import (
    ScoreElsewhere,
    score_elsewhere,
    served_here,
)
from touchstone_rewards.reward_server.scoring.groups import check_group_sizes
from touchstone_rewards.reward_server.scoring.judge_readings import judge_readings
from touchstone_rewards.reward_server.scoring.model_host import (
    BatcherMaker,
    ModelHost,
    batcher,
)
from touchstone_rewards.reward_server.scoring.normalization import Normalizers, finished
from touchstone_rewards.reward_server.scoring.remote import (
    RemoteScorers,
    built_scorers,
    close_connections,
    prove_endpoints,
)
from touchstone_rewards.reward_server.scoring.routing import part, score_parts
from touchstone_rewards.reward_server.scoring.turns import any_unusual, as_texts
from touchstone_rewards.reward_server.scoring.upstreams import Upstreams
from touchstone_rewards.reward_server.scoring.verdict_cache import VerdictCache, cache_readings
from touchstone_rewards.reward_server.scoring.worker_specs import worker_specs
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# A server that is killed loses this much of its running normalization.
SAVE_EVERY_S = 5.0
# Called with every observed request and its answer.
Observer = Callable[[ScoreRequest, ScoreResponse], None]
PoolMaker = Callable[[Mapping[str, ScorerSpec], Settings], WorkerPools]


class Engine:
    """Profiles and the workers behind them. `start` before the first request, `stop` at the end.

    `profiles` is shared with `models`; `reload.py` replaces its content. Before the start, the
    `normalizers` may be replaced by ones that outlive this process, and the tracer of `columns` by
    one that records spans. `elsewhere`: scores profiles that are `kept_once` in another process;
    None: this process does. `counted`: pending samples, including the server's other processes.
    """

    def __init__(
        self,
        profiles: dict[str, Profile],
        columns: ScorerColumns,
        elsewhere: ScoreElsewhere | None = None,
    ) -> None:
        self.profiles = profiles
        self.pool = columns.pool
        self.models = columns.models
        self.columns = columns
        self.limits = columns.limits
        self.metrics = columns.metrics
        self.cache = columns.cache
        self.upstreams = Upstreams(profiles, columns.models.batchers)
        self.observers: list[Observer] = []
        self.normalizers = Normalizers()
        self._saver: asyncio.Task[None] | None = None
        self.elsewhere = elsewhere
        self.counted = SharedCounts()
        self.draining = False
        self._started = False
        self.ready_since = ""

    async def start(self) -> None:
        """Start the workers, load the models, verify the endpoints.

        Raises:
            ConfigError: a scorer cannot be built in a worker, a model cannot be served, an endpoint
                fails its check, or saved state cannot be read.
        """
        profiles = served_here(self.profiles, self.elsewhere)
        self.normalizers.load(profiles)
        await self.pool.start()
        try:
            await self.models.start()
            await prove_endpoints(profiles)
        except BaseException:
            await self.models.stop()
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
        self.columns.groups.gatherer.stop()
        await close_connections(built_scorers(self.profiles).values())
        await self.models.stop()
        await self.pool.stop()

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await asyncio.to_thread(self.normalizers.save, self.normalizers.unsaved(self.profiles))

    @property
    def pending_samples(self) -> int:
        """Return the number of pending samples."""
        return self.counted.pending_samples

    @property
    def not_ready_reason(self) -> str | None:
        """Return why requests are refused at the moment, or None."""
        if self.draining:
            return "draining: the server is shutting down"
        if not self._started:
            loading = self.models.not_ready_reason if self.pool.alive else None
            return f"starting: {loading or 'workers are not up yet'}"
        if self.pool.alive == 0:
            return "no worker is alive; replacements are starting"
        return self.models.not_ready_reason or self.upstreams.not_ready_reason

    async def score(
        self, request: ScoreRequest, *, observed: bool = True, gather: bool = True
    ) -> ScoreResponse:
        """Score every sample of the request. `observed=False`: leave it out of statistics and of
        groups over several requests. `gather=False`: its groups are complete in this request.

        Raises:
            UnknownProfile, RequestTooLarge, QueueFull, NotReady: nothing was scored.
            RequestDeadline: the deadline passed before any sample was scored.
        """
        began_s = time.perf_counter()
        profile = self.check_admitted(request.profile, len(request.samples))
        if self.elsewhere is not None and profile.kept_once:
            return await score_elsewhere(self.elsewhere, request, observed=observed, gather=gather)
        fingerprint = profile.fingerprint
        served = current()
        served.profile = profile.name
        count = len(request.samples)
        served.samples += count
        share = served.caller.share if served.caller is not None else None
        if share is not None:
            share.take(count)
        self.counted.add(count)
        try:
            learn = observed and request.priority == "train"
            if profile.plain and not any_unusual(request.samples):
                give_up_at_s = self.give_up_at_s(request.deadline_ms)
                columns = await self.columns.all_of(profile, request, give_up_at_s)
                scored = self._combined(profile, request, columns, learn)
            else:
                scored = await self._scored(profile, request, learn, gather and observed)
        finally:
            self.counted.add(-count)
            if share is not None:
                share.give_back(count)
        if scored.columns.errors:
            check_any_turn(scored.results)
        if profile.unnamed:
            fingerprint = self._named(profile).fingerprint
        return self._answer(request, profile.info, fingerprint, scored, began_s, observed)

    def at_once(self, request: ScoreRequest) -> ScoreResponse | None:
        """Return the answer if nothing has to be waited for; None if `score` is needed.

        Raises:
            UnknownProfile, RequestTooLarge, QueueFull, NotReady: nothing was scored.
        """
        began_s = time.perf_counter()
        samples = request.samples
        known = self.profiles.get(request.profile)
        away = self.elsewhere is not None and known is not None and known.kept_once
        if away or (known is not None and (not known.at_once or any_unusual(samples))):
            return None
        profile = self.check_admitted(request.profile, len(samples))
        columns = self.columns.at_once(profile, request)
        if len(columns) < len(profile.scorers):
            return None
        served = current()
        served.profile = profile.name
        with served.room(len(samples)):
            scored = self._combined(profile, request, columns, request.priority == "train")
        return self._answer(request, profile.info, profile.fingerprint, scored, began_s)

    def _answer(
        self,
        request: ScoreRequest,
        info: ProfileInfo,
        fingerprint: str,
        scored: Scored,
        began_s: float,
        observed: bool = True,
    ) -> ScoreResponse:
        """Return the answer, after passing it to the metrics and observers."""
        current().note(info.name, request.samples, scored.results, scored.columns.errors)
        elapsed_ms = round((time.perf_counter() - began_s) * 1e3, 3)
        answer = ScoreResponse(scored.results, info.name, fingerprint, elapsed_ms)
        if observed:
            self.metrics.observe_columns(info, scored.columns)
            for observe in self.observers:
                try:
                    observe(request, answer)
                except Exception:  # an observer's failure must not affect the answer
                    logger.exception("an observer failed on a request for %s", answer.profile)
        return answer

    def _named(self, profile: Profile) -> Profile:
        """Return the profile with its new fingerprint, once endpoints have named their models."""
        found = {name: p.with_scorers({}) for name, p in self.profiles.items() if p.unnamed}
        self.profiles.update(found | link(self.profiles | found))
        now = self.profiles.get(profile.name, profile)
        return now if now.config == profile.config else profile

    def waits(self, profile: str) -> bool:
        """Return whether this profile waits for workers or models; a caller may hang up then."""
        known = self.profiles.get(profile)
        return known is not None and known.waits

    def check_admitted(self, profile: str, count: int) -> Profile:
        """Return the profile, if `count` samples for it may be scored now.

        Raises:
            UnknownProfile, RequestTooLarge, QueueFull, NotReady: as for `score`.
        """
        known = self.profiles.get(profile)
        if known is None:
            names = ", ".join(self.profiles)
            raise UnknownProfile(f"profile {profile!r:.200} is not known; known: {names}")
        if self.draining or not self._started:
            raise NotReady(f"{self.not_ready_reason}; try again later or on another server")
        self.limits.admit(count, self.counted.pending_samples)
        return known

    async def _scored(
        self, profile: Profile, request: ScoreRequest, learn: bool, gather: bool
    ) -> Scored:
        """Score a request that needs routes, groups, turns or cascades."""
        give_up_at_s = self.give_up_at_s(request.deadline_ms)
        unusual = any_unusual(request.samples)
        if unusual:
            texts = as_texts(request.samples, self.limits.max_response_bytes)
            request = replace(request, samples=texts)
        parted = part(profile, request.samples, named=unusual)
        score = partial(self._part, give_up_at_s=give_up_at_s, learn=learn, gather=gather)
        if parted is None:
            return await score(profile, request)
        scored = await score_parts(profile, request, parted, score)
        self.metrics.observe_routed(profile.name, parted.counts)
        return scored

    async def _singles(
        self, profile: Profile, request: ScoreRequest, give_up_at_s: float | None
    ) -> dict[str, list[Score]]:
        """Return the columns of the scorers that need no group."""
        if profile.cascades is None:
            return await self.columns.all_of(profile, request, give_up_at_s)
        keys = profile.single_keys
        fill_one = partial(self.columns.fill, profile, give_up_at_s=give_up_at_s)
        columns = await cascaded(profile.cascades, keys, request, fill_one)
        return dict(zip(keys, columns, strict=True))

    async def _part(
        self,
        profile: Profile,
        request: ScoreRequest,
        give_up_at_s: float | None,
        learn: bool,
        gather: bool,
        keys: Sequence[str] = (),
    ) -> Scored:
        """Score samples with the profile's own scorers."""
        by_key = await self._singles(profile, request, give_up_at_s)
        groups: Sequence[str] = ()
        if profile.group_keys:
            score_groups, known = partial(self.columns.groups.fill, learn=learn), by_key
            if profile.cascades is not None:
                standing = profile.cascades.replaced(by_key)
                known = by_key | {key: each.scores for key, each in standing.items()}
            found = await score_groups(profile, request, known, give_up_at_s, gather=gather)
            groups, by_key = found.names, by_key | found.columns
            by_key = {key: by_key[key] for key in profile.scorers}
        return self._combined(profile, request, by_key, learn, groups, keys)

    def _combined(
        self,
        profile: Profile,
        request: ScoreRequest,
        columns: Mapping[str, Sequence[Score]],
        learn: bool,
        groups: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> Scored:
        """Combine all columns into results; `groups`: names of the groups scored together."""
        scored = combine(profile, request.samples, columns, explain=request.explain, keys=keys)
        for result, group in zip(scored.results, groups, strict=False):
            result.group = group or UNSET
        return (
            finished(self.normalizers, profile, scored, learn=learn) if profile.finishes else scored
        )

    def give_up_at_s(self, deadline_ms: float | None) -> float | None:
        """Return the latest time, by the loop's clock, to answer a request with this deadline."""
        deadline_s = self.limits.request_deadline_s
        if deadline_ms is not None:
            deadline_s = min(deadline_s, deadline_ms / 1e3)
        now_s = asyncio.get_running_loop().time()
        return now_s + deadline_s if math.isfinite(deadline_s) else None


def by_profile(
    observe: Callable[[str, Sequence[Sample], Sequence[SampleResult]], None],
) -> Observer:
    """Return an observer that passes on the profile's name, the samples and their results."""
    return lambda request, answer: observe(answer.profile, request.samples, answer.results)


def create_engine(
    profiles: Mapping[str, Profile],
    settings: Settings,
    metrics: Metrics,
    make_pool: PoolMaker = worker_pools,
    make_batcher: BatcherMaker = batcher,
    elsewhere: ScoreElsewhere | None = None,
) -> Engine:
    """Return the engine that `settings` describe, not yet started. By default its workers and
    models run in this process's pool and threads."""
    profiles = dict(profiles)
    pool = make_pool(worker_specs(served_here(profiles, elsewhere)), settings)
    limits = SampleLimits(
        max_samples=settings.max_samples,
        max_response_bytes=settings.max_response_bytes,
        max_pending_samples=settings.max_pending_samples,
        request_deadline_s=settings.request_deadline_s,
        eval_wait_s=settings.eval_wait_s,
    )
    here = elsewhere is None  # another process's models are loaded there
    models = ModelHost(
        profiles if here else {}, settings.other_models if here else (), make_batcher
    )
    cache = VerdictCache(settings.cache_bytes)
    metrics.watch_pool(pool)
    metrics.watch(cache_readings(cache))
    metrics.watch(judge_readings(profiles))
    metrics.watch_models(models.batchers)
    remote = RemoteScorers(settings.sample_deadline_s)
    columns = ScorerColumns(pool, models, remote, limits, metrics, cache)
    metrics.watch([*columns.groups.gatherer.readings(), *columns.groups.memories.readings()])
    check_group_sizes(profiles, settings.max_samples)
    engine = Engine(profiles, columns, elsewhere)
    engine.upstreams.needed = settings.ready_needs_upstreams
    metrics.registry.register(engine.upstreams)
    return engine
