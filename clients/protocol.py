"""The client's half of the wire, pure: samples to bodies, answers to results, failures to delays.

In: samples, bytes, status codes, clocks as arguments. Out: bodies, checked results, and what to do
next. It opens no connection, sleeps for nothing and reads no clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from touchstone_rewards.clients.errors import (
    InvalidRequest,
    InvalidSample,
    MalformedAnswer,
    RequestRefused,
    Unauthorized,
    UnknownProfile,
)
from touchstone_rewards.reward_server.schemas import (
    ErrorBody,
    ErrorDetail,
    Priority,
    ProfileInfo,
    ProfileList,
    Sample,
    SampleError,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)

# A body of this size takes a server some milliseconds to read and leaves room below its limit.
MAX_BATCH_BYTES = 4 * 2**20
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
# A server that failed gets one request at a time until it has answered one, or one in this time
# if it does not even refuse.
TRIAL_S = 5.0
# The server is to answer with what it has before the client stops listening.
ANSWER_MARGIN_FRACTION = 0.1
MAX_ANSWER_MARGIN_S = 0.5

RETRIED_4XX = frozenset({408, 429})
REFUSALS = {401: Unauthorized, 403: Unauthorized, 404: UnknownProfile, 422: InvalidRequest}
WHAT_TO_DO = {
    401: "set REWARD_API_KEY, or pass api_key",
    403: "set REWARD_API_KEY, or pass api_key",
    404: "check the profile's name and the URL",
    422: "check that client and server are of the same version",
}

_decode_answer = msgspec.json.Decoder(ScoreResponse).decode
_decode_profiles = msgspec.json.Decoder(ProfileList).decode
_decode_error = msgspec.json.Decoder(ErrorBody).decode


class ScoreResult(SampleResult, kw_only=True):
    """The verdict on one sample, and what made it: equal fingerprints mean equal rewards."""

    profile: str
    fingerprint: str


class Encoded(NamedTuple):
    """A sample as it travels. `id` is the one on the wire, which the answer must repeat."""

    id: str
    json: bytes


class Failure(NamedTuple):
    """Why a try failed, and how long the server asked to be left alone."""

    why: str
    rest_s: float = 0.0


def encode(samples: Iterable[Sample | Mapping[str, Any]]) -> list[Encoded]:
    """The samples as JSON, each encoded once however often it is sent.

    JSON cannot carry lone surrogates: they become U+FFFD. NaN and infinities become null.

    Raises:
        InvalidSample: an unknown or missing field, or a value that JSON has no form for.
    """
    return [_encode_one(place, sample) for place, sample in enumerate(samples)]


def _encode_one(place: int, given: Sample | Mapping[str, Any]) -> Encoded:
    try:
        sample = given if isinstance(given, Sample) else msgspec.convert(given, Sample)
        try:
            return Encoded(sample.id, msgspec.json.encode(sample))
        except UnicodeEncodeError:
            clean = _without_lone_surrogates(msgspec.to_builtins(sample))
            return Encoded(clean["id"], msgspec.json.encode(clean))
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        fields = ", ".join(Sample.__struct_fields__)
        raise InvalidSample(
            f"sample {place} cannot be sent: {error}; a sample is a Sample or a mapping of {fields}"
        ) from error


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_without_lone_surrogates(entry) for entry in value]
    return value


def build(
    samples: Sequence[Encoded], profile: str, priority: Priority, explain: bool, time_left_s: float
) -> bytes:
    """The body of `POST /score`; `time_left_s` is how long the client will listen."""
    margin_s = min(MAX_ANSWER_MARGIN_S, ANSWER_MARGIN_FRACTION * time_left_s)
    raw: list[Any] = [msgspec.Raw(sample.json) for sample in samples]
    deadline_ms = max(1.0, round((time_left_s - margin_s) * 1e3))
    return msgspec.json.encode(ScoreRequest(raw, profile, deadline_ms, priority, explain))


def parse(body: bytes, samples: Sequence[Encoded]) -> list[ScoreResult]:
    """The results in `body`, checked against the samples that were sent.

    Raises:
        MalformedAnswer: see there.
    """
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"the answer is not a score response: {error}") from error
    if len(answer.results) != len(samples):
        raise MalformedAnswer(f"{len(answer.results)} results came for {len(samples)} samples")
    return [
        _checked(result, sample, answer)
        for result, sample in zip(answer.results, samples, strict=True)
    ]


def _checked(result: SampleResult, sample: Encoded, answer: ScoreResponse) -> ScoreResult:
    if result.id != sample.id:
        raise MalformedAnswer(f"a result for {result.id!r} stands where {sample.id!r} was sent")
    scored = result.status == "ok"
    if scored is (result.reward is None) or scored is (result.error is not None):
        raise MalformedAnswer(
            f"sample {sample.id!r} has status {result.status!r}, reward {result.reward!r} and "
            f"error {result.error!r}: ok comes with a reward, error with an error, never both"
        )
    return ScoreResult(
        result.id,
        result.status,
        result.reward,
        result.scores,
        result.error,
        result.explanation,
        profile=answer.profile,
        fingerprint=answer.fingerprint,
    )


def parse_profiles(body: bytes) -> list[ProfileInfo]:
    """Raises MalformedAnswer if `body` is not the server's list of profiles."""
    try:
        return _decode_profiles(body).profiles
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"the answer is not a list of profiles: {error}") from error


def too_large(sample: Encoded, profile: str) -> ScoreResult:
    """The result of a sample that no request may carry: data's fault, so no exception."""
    message = f"the server takes no request as large as this sample of {len(sample.json)} bytes"
    error = SampleError("response_too_large", message, retryable=False)
    return ScoreResult(sample.id, "error", None, {}, error, profile=profile, fingerprint="")


def complete(results: Sequence[ScoreResult]) -> None:
    """Give results made by `too_large` the score keys and the fingerprint of the others."""
    scored = next((result for result in results if result.fingerprint), None)
    for result in results:
        if scored is not None and not result.fingerprint:
            result.scores = dict.fromkeys(scored.scores)
            result.fingerprint = scored.fingerprint


def is_retried(status: int) -> bool:
    """May the same request succeed later? Yes for 408, 429 and every 5xx."""
    return status in RETRIED_4XX or status >= 500


def failure(status: int, body: bytes, retry_after: str | None, now_s: float) -> Failure:
    """What an answer worth another try says; `now_s` is the time since the epoch."""
    return Failure(f"{status}: {_error(body).message}", retry_after_s(retry_after, now_s))


def refusal(status: int, body: bytes, url: str) -> RequestRefused:
    """The error for an answer that is neither a success nor worth another try."""
    error = _error(body)
    advice = WHAT_TO_DO.get(status, f"is {url} a Touchstone reward server?")
    return REFUSALS.get(status, RequestRefused)(
        f"{url} answered {status}: {error.message}; {advice}",
        status=status,
        code=error.code or None,
        request_id=error.request_id or None,
    )


def _error(body: bytes) -> ErrorDetail:
    """The error in `body`; of a body that is not ours, its beginning."""
    try:
        return _decode_error(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorDetail("", body[:200].decode("utf-8", "replace").strip() or "no message", "")


def retry_after_s(value: str | None, now_s: float) -> float:
    """Seconds that a `Retry-After` asks for, given as seconds or as an HTTP date; else 0.

    `now_s` is the time since the epoch.
    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except ValueError:
        return 0.0


def full_jitter_s(attempt: int, random_fraction: Callable[[], float] = random.random) -> float:
    """Seconds to wait after failure number `attempt` (from 0): uniform below a doubling bound.

    Source: "Exponential Backoff and Jitter", AWS Architecture Blog (2015), full jitter.
    """
    return random_fraction() * min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt, 30))


class Server:
    """One URL and how it fares. Times are seconds of one monotonic clock.

    It rests after a failure, and while one request tries whether it is back.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.failure: str | None = None
        self.failed_at_s = 0.0
        self.rests_until_s = 0.0
        self.tried_until_s = 0.0

    @property
    def free_at_s(self) -> float:
        return max(self.rests_until_s, self.tried_until_s)

    def failed(self, why: str, now_s: float, rest_s: float) -> None:
        self.failure = why
        self.failed_at_s = now_s
        self.rests_until_s = max(self.rests_until_s, now_s + rest_s)
        self.tried_until_s = 0.0

    def succeeded(self, sent_at_s: float) -> None:
        """An answer to what was sent before the last failure does not tell of a recovery."""
        if sent_at_s >= self.failed_at_s:
            self.failure = None
            self.rests_until_s = self.tried_until_s = 0.0


def next_server(servers: list[Server], now_s: float) -> Server:
    """Round robin over the servers that do not rest; if all do, the first to be back."""
    chosen = min(servers, key=lambda server: max(server.free_at_s, now_s))
    servers.remove(chosen)
    servers.append(chosen)
    return chosen
