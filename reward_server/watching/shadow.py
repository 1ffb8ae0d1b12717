"""Compare a profile with a shadow profile on the same samples, without touching rewards.

Scoring by the shadow starts after the answer is ready. It runs in slices of `SLICE` samples while
the server is idle, and at least one slice per `PATIENCE_S` when it never is. Samples beyond its
capacity are dropped and counted; so are failures.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from typing import NamedTuple

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from touchstone_rewards.reward_server.errors import RequestError
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
    ShadowInfo,
)
from touchstone_rewards.reward_server.scoring.routing import addressed
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading
from touchstone_rewards.reward_server.turn_texts import (
    response_text,
)
from touchstone_rewards.reward_server.watching.held_bytes import held_bytes
from touchstone_rewards.reward_server.watching.verdicts import verdict

SLICE, PATIENCE_S = 32, 0.2
# Limit on the bytes queued for comparison.
MAX_WAITING_BYTES = 32 * 2**20
KEPT_DISAGREEMENTS, KEPT_BYTES = 200, 32 * 2**20
# Limit on incomplete groups.
MOST_PIECES = 256

logger = logging.getLogger(__name__)

ScoredSample = tuple[Sample, SampleResult]
OnCompared = Callable[
    [ScoreRequest, ScoreResponse, Sequence[tuple[Sample, SampleResult, SampleResult]]], None
]
ScoreSlice = Callable[[ScoreRequest], Awaitable[ScoreResponse]]


class Disagreement(Struct):
    """One sample on which the profile and its shadow disagree."""

    profile: str
    shadow: str
    sample: Sample
    result: SampleResult
    shadow_result: SampleResult


class _Taken(NamedTuple):
    """An answered request to compare; `context`: the request's context variables."""

    shadow: str
    request: ScoreRequest
    answer: ScoreResponse
    bytes: int
    context: Context


class Shadows:
    """Compares profiles with their shadows in the background while `run` is running.

    `disagreements`: the latest ones, newest last. `on_differing`: called for each slice with the
    profile's name and, for each sample, whether the verdicts differ. `on_compared`: called in the
    request's context with request, answer, and the samples with both results.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        score: ScoreSlice,
        idle: Callable[[], bool],
        on_differing: Callable[[str, Sequence[bool]], None] | None = None,
        on_compared: OnCompared | None = None,
    ) -> None:
        self.disagreements: deque[Disagreement] = deque()
        self.infos: dict[str, ShadowInfo] = {}
        self.on_differing = on_differing
        self.on_compared = on_compared
        self._profiles = profiles
        self._score = score
        self._idle = idle
        self._sizes: deque[int] = deque()  # sizes of the disagreements in bytes
        self._waiting: deque[_Taken] = deque()
        self._waiting_bytes = 0
        # Incomplete groups by name: members answered so far.
        self._pieces: dict[str, dict[tuple[str, str], ScoredSample]] = {}
        self._came = asyncio.Event()

    def take(self, request: ScoreRequest, answer: ScoreResponse) -> None:
        """Queue an answered request for comparison, if its profile has a shadow."""
        profile = self._profiles.get(answer.profile)
        shadow = profile.config.shadow if profile else None
        if shadow is None:
            return
        size = held_bytes(request.samples, answer.results, MAX_WAITING_BYTES)
        if self._waiting_bytes and self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._info(answer.profile, shadow).dropped += len(request.samples)
            return
        self._waiting_bytes += size
        self._waiting.append(_Taken(shadow, request, answer, size, copy_context()))
        self._came.set()

    async def run(self) -> None:
        """Compare the queued requests until cancelled."""
        while True:
            if not self._waiting:
                self._came.clear()
                await self._came.wait()
            taken = self._waiting.popleft()
            self._waiting_bytes -= taken.bytes
            pairs = list(zip(taken.request.samples, taken.answer.results, strict=True))
            for part in self._parts(taken.shadow, pairs):
                await self._give_way()
                await self._compare(taken, part)

    def _parts(self, shadow: str, pairs: list[ScoredSample]) -> Iterator[list[ScoredSample]]:
        """Split a request into slices of `SLICE` samples, or slightly more to keep groups whole."""
        scored_by = self._profiles.get(shadow)
        if scored_by is None or scored_by.info.groups is None:
            yield from (pairs[start : start + SLICE] for start in range(0, len(pairs), SLICE))
            return
        groups: dict[str, list[ScoredSample]] = {}
        for pair in pairs:
            sample, result = pair
            if isinstance(result.group, str):
                yield from self._gathered(result.group, pair)
            else:
                groups.setdefault(sample.group_id or sample.id, []).append(pair)
        part: list[ScoredSample] = []
        for group in groups.values():
            part += group
            if len(part) >= SLICE:
                yield part
                part = []
        if part:
            yield part

    def _gathered(self, name: str, pair: ScoredSample) -> Iterator[list[ScoredSample]]:
        """Return a group spread over several requests once its last member has been answered."""
        members = self._pieces.setdefault(name, {})
        sample, _ = pair
        members[sample.id, response_text(sample.response)] = pair
        if len(members) >= int(name.rpartition("/")[2]):
            yield list(self._pieces.pop(name).values())
        elif len(self._pieces) > MOST_PIECES:  # members of abandoned requests are never answered
            self._pieces.pop(next(iter(self._pieces)))

    async def _give_way(self) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        await asyncio.sleep(0)
        while not self._idle() and loop.time() < until_s:
            await asyncio.sleep(PATIENCE_S / 20)

    async def _compare(self, taken: _Taken, pairs: Sequence[ScoredSample]) -> None:
        profile, shadow = taken.answer.profile, taken.shadow
        info = self._info(profile, shadow)
        scored_by = self._profiles.get(shadow)
        samples = [addressed(scored_by, sample) for sample, _ in pairs]
        try:
            answer = await self._score(ScoreRequest(samples, shadow, priority="eval"))
        except RequestError as error:
            info.dropped += len(pairs)
            logger.warning("shadow %s of %s: %d dropped: %s", shadow, profile, len(pairs), error)
            return
        except Exception:  # request boundary: isolate the shadow's failures
            info.samples += len(pairs)
            info.failed += len(pairs)
            logger.exception("shadow %s of %s failed", shadow, profile)
            return
        differs: list[bool] = []
        for (sample, result), other in zip(pairs, answer.results, strict=True):
            info.samples += 1
            if other.reward is None:
                info.failed += 1
            elif result.reward is not None:
                info.compared += 1
                mean, difference = info.mean_difference or 0.0, abs(result.reward - other.reward)
                info.mean_difference = mean + (difference - mean) / info.compared
            differs.append(_verdict(result) != _verdict(other))
            if differs[-1]:
                info.disagreements += 1
                self._keep(Disagreement(profile, shadow, sample, result, other))
        if self.on_differing is not None:
            self.on_differing(profile, differs)
        if self.on_compared is not None:
            both = [(*pair, other) for pair, other in zip(pairs, answer.results, strict=True)]
            taken.context.run(self.on_compared, taken.request, taken.answer, both)

    def _keep(self, found: Disagreement) -> None:
        """Keep a disagreement, and drop the oldest ones beyond the limits on count and bytes."""
        self.disagreements.append(found)
        self._sizes.append(held_bytes([found.sample], [found.result, found.shadow_result]))
        while len(self._sizes) > KEPT_DISAGREEMENTS or (
            len(self._sizes) > 1 and sum(self._sizes) > KEPT_BYTES
        ):
            self.disagreements.popleft()
            self._sizes.popleft()

    def _info(self, profile: str, shadow: str) -> ShadowInfo:
        info = self.infos.get(profile)
        if info is None or info.profile != shadow:
            info = self.infos[profile] = ShadowInfo(shadow)
        return info

    def readings(self) -> list[MetricReading]:
        """Return the shadows' metrics."""

        def counted(field: str, text: str) -> MetricReading:
            return MetricReading(
                CounterMetricFamily,
                f"reward_shadow_{field}",
                text,
                "profile",
                lambda: {name: getattr(info, field) for name, info in self.infos.items()},
            )

        return [
            counted("samples", "Samples also scored by the profile's shadow"),
            counted("disagreements", "Samples whose verdict differs from the shadow's"),
            counted("failed", "Samples for which the shadow has no reward"),
            counted("dropped", "Samples dropped because the shadow could not keep up"),
            MetricReading(
                GaugeMetricFamily,
                "reward_shadow_mean_difference",
                "Mean absolute difference of the profile's rewards and its shadow's",
                "profile",
                lambda: {name: info.mean_difference or 0.0 for name, info in self.infos.items()},
            ),
        ]


def _verdict(result: SampleResult) -> str:
    return verdict(result.reward, result.error.code if result.error else None)
