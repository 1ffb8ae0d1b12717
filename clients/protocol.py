"""The client's half of the wire: samples to request bodies, answers to checked results or errors.

Everything here is a pure function of its arguments; `transport.py` does the input and output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.remote.policy import Failure, retry_after_s
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
    is_list,
    is_object,
)

# A body of this size takes a server some milliseconds to read and leaves room below its limit.
MAX_BATCH_BYTES = 4 * 2**20
# The server is to answer with what it has before the client stops listening.
ANSWER_MARGIN_FRACTION = 0.1
MAX_ANSWER_MARGIN_S = 0.5

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


class Encoded(NamedTuple):
    """A sample as it travels. `id` is the one on the wire, which the answer must repeat. `group`:
    those of one group travel in one request."""

    id: str
    json: bytes
    group: str | None = None


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
        if isinstance(sample.ground_truth, bytes | bytearray | memoryview):
            raise TypeError("the ground truth is bytes: decode it")  # JSON would get their base64
        try:
            group = sample.group_id
            return Encoded(sample.id, msgspec.json.encode(sample, enc_hook=_plain), group)
        except UnicodeEncodeError:
            clean = _without_lone_surrogates(msgspec.to_builtins(sample, enc_hook=_plain))
            return Encoded(clean["id"], msgspec.json.encode(clean), clean.get("group_id"))
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
        fields = ", ".join(Sample.__struct_fields__)
        raise InvalidSample(
            f"sample {place} cannot be sent: {error}; a sample is a Sample or a mapping of {fields}"
        ) from error


def _plain(value: Any) -> Any:
    """What JSON has no form for, as a number, a text or a list: numpy's and torch's values, and
    subclasses of text (numpy.str_). Their libraries are not imported.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if hasattr(value, "tolist"):  # arrays, tensors and numpy's scalars
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _without_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if is_object(value):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(entry)
            for key, entry in value.items()
        }
    if is_list(value):
        return [_without_lone_surrogates(entry) for entry in value]
    return value


def build(
    samples: Sequence[Encoded],
    profile: str,
    priority: Priority,
    explain: bool,
    time_left_s: float,
    run: str | None = None,
    step: int | None = None,
) -> bytes:
    """The body of `POST /score`; `time_left_s` is how long the client will listen. Without `run` it
    is one that older servers know."""
    margin_s = min(MAX_ANSWER_MARGIN_S, ANSWER_MARGIN_FRACTION * time_left_s)
    raw: list[Any] = [msgspec.Raw(sample.json) for sample in samples]
    deadline_ms = max(1.0, round((time_left_s - margin_s) * 1e3))
    request = ScoreRequest(raw, profile, deadline_ms, priority, explain, run, step)
    return msgspec.json.encode(request)


def parse(body: bytes, samples: Sequence[Encoded], profile: str) -> list[ScoreResult]:
    """The results in `body`, checked against the samples and the profile that were sent.

    Raises:
        MalformedAnswer: see there.
    """
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"the answer is not a score response: {error}") from error
    if answer.profile != profile:
        raise MalformedAnswer(f"profile {profile!r} was asked for, {answer.profile!r} answered")
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
        result.routed_to,
        result.group,
        result.turns,
        result.weights,
        result.decided_by,
        result.undecided,
        profile=answer.profile,
        fingerprint=answer.fingerprint,
        alarms=answer.alarms or (),
    )


def parse_profiles(body: bytes) -> list[ProfileInfo]:
    """Raises MalformedAnswer if `body` is not the server's list of profiles."""
    try:
        return _decode_profiles(body).profiles
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"the answer is not a list of profiles: {error}") from error


def too_large(
    sample: Encoded, profile: str, members: Sequence[Encoded] | None = None
) -> ScoreResult:
    """The result of a sample that no request may carry: data's fault, so no exception.

    `members`: of its group, which is what no request may carry."""
    what = f"this sample of {len(sample.json)} bytes"
    if members:
        size = sum(len(member.json) for member in members)
        what = (
            f"group {sample.group!r} of {len(members)} samples, {size} bytes, which is scored whole"
        )
    message = f"the server takes no request as large as {what}"
    error = SampleError("response_too_large", message, retryable=False)
    return ScoreResult(sample.id, "error", None, {}, error, profile=profile, fingerprint="")


def broken(sample: Encoded, profile: str, why: str) -> ScoreResult:
    """The result of a sample at which the server fails whenever it comes, also alone."""
    error = SampleError("scorer_failed", f"the server fails at this sample: {why}", retryable=False)
    return ScoreResult(sample.id, "error", None, {}, error, profile=profile, fingerprint="")


def complete(results: Sequence[ScoreResult]) -> None:
    """Give results that no server gave the score keys and the fingerprint of the others."""
    scored = next((result for result in results if result.fingerprint), None)
    for result in results:
        if scored is not None and not result.fingerprint:
            result.scores = dict.fromkeys(scored.scores)
            result.fingerprint = scored.fingerprint


def failure(status: int, body: bytes, retry_after: str | None, now_s: float) -> Failure:
    """What an answer worth another try says; `now_s` is the time since the epoch."""
    return Failure(f"{status}: {_error(body).message}", retry_after_s(retry_after, now_s), status)


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
