"""The routes of the foreign formats: one endpoint runs them all.

In: the engine and what the operator set. Out: a route a format. A sample without a reward fails
the whole request, unless the operator chose a constant for the format: no trainer here knows null.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.compat.format import (
    FixedAnswer,
    Format,
    FormatVerdict,
    Refused,
)
from touchstone_rewards.reward_server.compat.formats import FIXED_ANSWERS, FORMATS
from touchstone_rewards.reward_server.compat.ground_truths import GroundTruths
from touchstone_rewards.reward_server.errors import (
    ConfigError,
    InvalidRequest,
    NoReward,
    NoRewardNow,
    RequestError,
)
from touchstone_rewards.reward_server.http.body import (
    DOES_NOT_FIT,
    Body,
    decode,
    encode,
    misfit,
    read_body,
    send_json,
    unless_gone,
)
from touchstone_rewards.reward_server.http.gate import SMALL_BYTES
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.received import check_received, decode_in_slices
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.settings import Settings

DEFAULT_PROFILE = "math"
Endpoint = Callable[[Request], Awaitable[Response]]


def compat_routes(engine: Engine, settings: Settings) -> list[Route]:
    """The routes, over the profiles of `engine`.

    Raises:
        ConfigError: a setting names a format or a profile that there is not, or the ground truths
            cannot be read.
    """
    _check(settings, engine)
    truths = GroundTruths(settings.compat_ground_truths)
    scoring = [
        Route(each.route, CompatEndpoint(each, engine, settings, truths), methods=["POST"])
        for each in FORMATS
    ]
    fixed = [Route(each.path, _fixed(each), methods=[each.method]) for each in FIXED_ANSWERS]
    return [*scoring, *fixed]


def _fixed(about: FixedAnswer) -> Endpoint:
    """The endpoint of a route whose answer is always the same, or follows from the body alone."""
    said = encode(about.answer)

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        answer = said if about.answer_to is None else encode(about.answer_to(body))
        return Response(answer, media_type="application/json")

    return endpoint


class Come(NamedTuple):
    """A request in a foreign format, understood; `logged`: the scores that its answer shows."""

    asked: Any
    came: Sequence[Sample | Refused]
    logged: Sequence[str]
    request: ScoreRequest


class CompatEndpoint:
    """One format's route as a bare ASGI app."""

    def __init__(
        self, spoken: Format[Any], engine: Engine, settings: Settings, truths: GroundTruths
    ) -> None:
        self.format = spoken
        self.decoder = spoken.decoder
        self.expected = encode(spoken.example).decode()
        self.engine = engine
        self.truths = truths
        self.profile = settings.compat_profiles.get(spoken.name, DEFAULT_PROFILE)
        self.max_elements = settings.max_body_elements
        self.null_reward = settings.compat_null_rewards.get(spoken.name)

    def begin(self, query: bytes, body: Body) -> bytes | Coroutine[Any, Any, bytes]:
        """Answer a small body, at once where nothing has to be waited for."""
        if self.format.refused is None:
            return self._begin(query, body)
        return self._unless_refused(query, body)

    async def _unless_refused(self, query: bytes, body: Body) -> bytes:
        """Answer a body of a format that has an answer of its own for what has no reward."""
        assert self.format.refused is not None
        try:
            answer = self._begin(query, body)
            return answer if isinstance(answer, bytes) else await answer
        except RequestError as error:
            return encode(self.format.refused(error))

    def _begin(self, query: bytes, body: Body) -> bytes | Coroutine[Any, Any, bytes]:
        asked = decode(body, self.decoder, self.expected)
        come = self._come(asked, _profile_in(query) or self.profile, counted=False)
        answer = self.engine.at_once(come.request)
        return self._later(come) if answer is None else self._said(come, answer.results)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, query = await read_body(receive), scope["query_string"]
        if len(body) <= SMALL_BYTES or self.format.refused is not None:
            answer = self.begin(query, body)
        else:
            asked = await self._decoded(body)
            answer = self._later(
                self._come(asked, _profile_in(query) or self.profile, counted=True)
            )
        del body
        said = answer if isinstance(answer, bytes) else await unless_gone(receive, answer)
        await send_json(send, said)

    async def _decoded(self, body: Body) -> Any:
        """What a large body asks; the structure of such a one was counted as a whole."""
        if self.format.decode is not None:
            return decode(body, self.decoder, self.expected)
        try:
            return await decode_in_slices(body, self.format.received or self.format.request)
        except DOES_NOT_FIT as error:
            raise misfit(body, error, self.expected) from error

    def _come(self, asked: Any, profile: str, *, counted: bool) -> Come:
        known = self.engine.profiles.get(profile)
        logged = _logged(known, self.format.name, self.format.own_keys) if known else ()
        came = self._samples(asked, profile)
        samples = [each for each in came if isinstance(each, Sample)]
        check_received(samples, self.max_elements, count=not counted)
        request = ScoreRequest(samples, profile, self.format.deadline_ms)
        return Come(asked, came, logged, request)

    async def _later(self, come: Come) -> bytes:
        return self._said(come, (await self.engine.score(come.request)).results)

    def _said(self, come: Come, results: Sequence[SampleResult]) -> bytes:
        """The answer in the trainer's format."""
        in_place = _in_place(come.came, results)
        verdicts = self._verdicts(come.request.profile, come.logged, in_place)
        return encode(self.format.body(come.asked, verdicts))

    def _samples(self, asked: Any, profile: str) -> Sequence[Sample | Refused]:
        came = self.format.samples(asked)
        samples = [each for each in came if isinstance(each, Sample)]
        for sample in samples:
            self.truths.fill(sample, by_id=self.format.sends_ids)
        if (known := self.engine.profiles.get(profile)) is not None and known.info.groups:
            _group(samples, named=self.format.sends_ids)
        if known is not None and known.info.turns and self.format.trajectories is not None:
            for sample, messages in zip(samples, self.format.trajectories(asked), strict=True):
                sample.response = cast("str", messages)
        if self.format.texts is not None and self._reads_whole_texts(profile):
            for sample, text in zip(samples, self.format.texts(asked), strict=True):
                sample.prompt = text.removesuffix(sample.response)
        return came

    def _reads_whole_texts(self, profile: str) -> bool:
        """Does a reward model of this profile read prompt and response as they stand?"""
        known = self.engine.profiles.get(profile)
        return any(
            scorer.runs_in == "model"
            and isinstance(scorer.model, RewardModelConfig)
            and scorer.model.template == "plain"
            for inner in (known.reached() if known else ())
            for scorer in inner.scorers.values()
        )

    def _verdicts(
        self, profile: str, logged: Sequence[str], results: Sequence[SampleResult]
    ) -> list[FormatVerdict]:
        null = self.null_reward
        verdicts: list[FormatVerdict] = []
        for result in results:
            if result.reward is not None:
                scores = {name: result.scores[name] for name in logged}
                verdicts.append(FormatVerdict(result.reward, cast("dict[str, float]", scores)))
            elif null is not None and not _retryable(result):
                verdicts.append(FormatVerdict(null, dict.fromkeys(logged, null), result.error))
            else:
                raise _no_reward(self.format.name, profile, result)
        return verdicts


@lru_cache(maxsize=256)
def _logged(profile: Profile, spoken: str, own_keys: frozenset[str]) -> tuple[str, ...]:
    """The scores that are there whenever there is a reward: those it depends on, whatever the
    row. Others may fail beside it or not apply, and a trainer that logs numbers wants the same
    ones every time.

    Raises:
        InvalidRequest: one of the scorers has the name of another number in the answer.
    """
    if taken := own_keys & {*profile.info.scorers}:
        raise InvalidRequest(
            f"profile {profile.name!r} has a scorer called {min(taken)!r}, which in the answer for "
            f"{spoken} is another number: give the scorer another key in the profile"
        )
    counting = [{*each.counting} for each in profile.reached()]
    return tuple(name for name in profile.info.scorers if all(name in each for each in counting))


def _group(samples: Sequence[Sample], *, named: bool) -> None:
    """Give the tries of one prompt one group, and each try an id of its own where the trainer gives
    none: it is counted once, and gone when its caller is."""
    for place, sample in enumerate(samples):
        if sample.group_id is None and sample.prompt is not None:
            prompt = encode(sample.prompt)
            sample.group_id = sha256(prompt).hexdigest()[:16]
        if not named:
            sample.id = f"{current().request_id}/{place}"


def _in_place(
    came: Sequence[Sample | Refused], scored: Sequence[SampleResult]
) -> list[SampleResult]:
    """The results in the order of what came: those that were not scored have their error."""
    results = iter(scored)
    return [
        SampleResult(each.id, "error", None, {}, each.error)
        if isinstance(each, Refused)
        else next(results)
        for each in came
    ]


def _retryable(result: SampleResult) -> bool:
    """A busy server says so, whatever constant stands for a sample that cannot be scored."""
    return result.error is not None and result.error.retryable


def _no_reward(spoken: str, profile: str, result: SampleResult) -> NoReward | NoRewardNow:
    assert result.error is not None
    what = (
        f"sample {result.id} has no reward from profile {profile!r}: {result.error.code}: "
        f"{result.error.message}"
    )
    if _retryable(result):
        return NoRewardNow(f"{what}; the same sample may succeed if sent again")
    return NoReward(
        f"{what}; choose another profile with ?profile=NAME, or a constant in the server's "
        f"compat_null_rewards: {{{spoken}: …}}"
    )


@lru_cache(maxsize=256)
def _profile_in(query: bytes) -> str | None:
    return parse_qs(query.decode("latin-1")).get("profile", [None])[0]


def _check(settings: Settings, engine: Engine) -> None:
    names = {each.name for each in FORMATS}
    for setting in ("compat_profiles", "compat_null_rewards"):
        if unknown := sorted(set(getattr(settings, setting)) - names):
            raise ConfigError(
                f"{setting}: no format is called {', '.join(unknown)}; there are "
                f"{', '.join(sorted(names))}"
            )
    for name, profile in settings.compat_profiles.items():
        if profile not in engine.profiles:
            raise ConfigError(
                f"compat_profiles: {name} has profile {profile!r}, which is not known; known: "
                f"{', '.join(engine.profiles)}"
            )
