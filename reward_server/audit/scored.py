"""Score an audit's samples by an engine in this process or by a running server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from touchstone_rewards.reward_server.errors import ConfigError, RunFailed
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.remote.transport import (
    Endpoints,
    UpstreamFailed,
    UpstreamTransport,
)
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.stream import offline_engine, started

BATCH_SAMPLES = 128
# Requests end at their own deadline; this limit is for a server that stops answering.
ANSWER_WITHIN_S = 3600.0
ScoreBatch = Callable[[Sequence[Sample]], Awaitable[ScoreResponse]]


class AuditedProfile(NamedTuple):
    """The audited profile and how to score with it. `profile` is None if a server has it."""

    score: ScoreBatch
    profile: Profile | None


class ScoredBatch(NamedTuple):
    """Results in the order of the samples, and the total duration."""

    results: list[SampleResult]
    elapsed_ms: float
    fingerprint: str


@asynccontextmanager
async def scoring_here(settings: Settings, name: str) -> AsyncGenerator[AuditedProfile]:
    """Yield the profile of the settings, with its models and workers running.

    Raises:
        ConfigError: there is no such profile, or it scores whole groups.
    """
    engine = offline_engine(settings, name)
    profile = engine.profiles[name]
    if profile.info.groups is not None:
        raise ConfigError(
            f"profile {name!r} scores whole groups; an audit tries single samples: audit a profile "
            "without its group scorers"
        )
    await started(engine)
    try:

        async def score(samples: Sequence[Sample]) -> ScoreResponse:
            request = ScoreRequest(list(samples), name, explain=True)
            return await engine.score(request, observed=False, gather=False)

        yield AuditedProfile(score, profile)
    finally:
        await engine.stop()


@asynccontextmanager
async def scoring_at(url: str, name: str, key: str | None) -> AsyncGenerator[AuditedProfile]:
    """Yield the profile of the server at this URL."""
    transport = UpstreamTransport(
        Endpoints([f"{url.rstrip('/')}/score"], key, timeout_s=ANSWER_WITHIN_S)
    )

    async def score(samples: Sequence[Sample]) -> ScoreResponse:
        body = msgspec.json.encode(ScoreRequest(list(samples), name, explain=True))
        try:
            return msgspec.convert(await transport.post(body), ScoreResponse)
        except UpstreamFailed as error:
            raise RunFailed(f"{url} did not score: {error}") from error
        except msgspec.ValidationError as error:
            raise RunFailed(f"{url} did not answer in the form of /score: {error}") from error

    try:
        yield AuditedProfile(score, None)
    finally:
        await transport.aclose()


async def score_all(scoring: AuditedProfile, samples: Sequence[Sample]) -> ScoredBatch:
    """Score the samples in batches."""
    results: list[SampleResult] = []
    elapsed_ms, fingerprint = 0.0, ""
    for at in range(0, len(samples), BATCH_SAMPLES):
        response = await scoring.score(samples[at : at + BATCH_SAMPLES])
        results += response.results
        elapsed_ms += response.elapsed_ms
        fingerprint = response.fingerprint
        await asyncio.sleep(0)
    return ScoredBatch(results, elapsed_ms, fingerprint)
