"""The routes of the foreign formats, all served by one endpoint class.

These trainers cannot represent a missing reward. Therefore one sample without a reward fails the
whole request, unless the operator configured a constant for the format.
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
    """Return one route per format, and the fixed ones.

    Raises:
        ConfigError: a setting names an unknown format or profile, or the ground truths cannot be
            read.
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
    """Return the endpoint of a route that needs no scorer."""
    said = encode(about.answer)

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        answer = said if about.answer_to is None else encode(about.answer_to(body))
        return Response(answer, media_type="application/json")

    return endpoint


class Come(NamedTuple):
    """A decoded request. `logged` names the scores that its answer includes."""

    asked: Any
    came: Sequence[Sample | Refused]
    logged: Sequence[str]
    request: ScoreRequest


class CompatEndpoint:
    """The scoring route of one format, as a bare ASGI application."""

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
        """Answer a small body: with bytes if no scorer has to be awaited, else with a coroutine."""
        if self.format.refused is None:
            return self._begin(query, body)
        return self._unless_refused(query, body)

    async def _unless_refused(self, query: bytes, body: Body) -> bytes:
        """Answer a body of a format that has its own answer for errors."""
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
        """Decode a large body in slices, which also counts its elements."""
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
        """Return the answer in the trainer's format."""
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
        """Return whether the profile has a reward model with `template: plain`."""
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
    """Return the scores that the reward depends on in every row. Others may be missing although
    there is a reward, and trainers expect the same numbers for every sample.

    Raises:
        InvalidRequest: a scorer has the name of another number in the answer.
    """
    if taken := own_keys & {*profile.info.scorers}:
        raise InvalidRequest(
            f"profile {profile.name!r} has a scorer called {min(taken)!r}, but the answer for "
            f"{spoken} has another number of this name: give the scorer another key in the profile"
        )
    counting = [{*each.counting} for each in profile.reached()]
    return tuple(name for name in profile.info.scorers if all(name in each for each in counting))


def _group(samples: Sequence[Sample], *, named: bool) -> None:
    """Give the samples of one prompt the same group id and, if the trainer sends no ids, each
    sample a unique id, so that a group counts each sample once."""
    for place, sample in enumerate(samples):
        if sample.group_id is None and sample.prompt is not None:
            prompt = encode(sample.prompt)
            sample.group_id = sha256(prompt).hexdigest()[:16]
        if not named:
            sample.id = f"{current().request_id}/{place}"


def _in_place(
    came: Sequence[Sample | Refused], scored: Sequence[SampleResult]
) -> list[SampleResult]:
    """Return one result per sample in the order of the request, refused samples included."""
    results = iter(scored)
    return [
        SampleResult(each.id, "error", None, {}, each.error)
        if isinstance(each, Refused)
        else next(results)
        for each in came
    ]


def _retryable(result: SampleResult) -> bool:
    """Return whether a retry may succeed. Then no constant replaces the reward."""
    return result.error is not None and result.error.retryable


def _no_reward(spoken: str, profile: str, result: SampleResult) -> NoReward | NoRewardNow:
    assert result.error is not None
    what = (
        f"sample {result.id} has no reward from profile {profile!r}: {result.error.code}: "
        f"{result.error.message}"
    )
    if _retryable(result):
        return NoRewardNow(f"{what}; retry: the same sample may succeed")
    return NoReward(
        f"{what}; choose another profile with ?profile=NAME, or configure a constant on the "
        f"server: compat_null_rewards: {{{spoken}: …}}"
    )


@lru_cache(maxsize=256)
def _profile_in(query: bytes) -> str | None:
    """Return the profile that the query string names, or None.

    Raises:
        InvalidRequest: it has anything else, so that a misspelt name is not ignored.
    """
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    names = given.pop("profile", [None])
    if given or len(names) > 1:
        text = query.decode("latin-1")
        raise InvalidRequest(f"got the query string ?{text[:200]}; expected ?profile=NAME")
    return names[0]


def _check(settings: Settings, engine: Engine) -> None:
    names = {each.name for each in FORMATS}
    for setting in ("compat_profiles", "compat_null_rewards"):
        if unknown := sorted(set(getattr(settings, setting)) - names):
            raise ConfigError(
                f"{setting}: unknown format {', '.join(unknown)}; the formats are "
                f"{', '.join(sorted(names))}"
            )
    for name, profile in settings.compat_profiles.items():
        if profile not in engine.profiles:
            raise ConfigError(
                f"compat_profiles: unknown profile {profile!r} for {name}; the profiles are "
                f"{', '.join(engine.profiles)}"
            )
