"""The client side of the wire format: build request bodies, parse and check answers.

Pure functions; `transport.py` does the input and output.
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

# A server reads a body of this size in milliseconds, and its limit is well above.
MAX_BATCH_BYTES = 4 * 2**20
# The server's deadline is earlier than the client's, so that partial results arrive in time.
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
    """An encoded sample. `id` is the id as sent, which the answer must repeat. Samples with the
    same `group` are sent in one request."""

    id: str
    json: bytes
    group: str | None = None


def encode(samples: Iterable[Sample | Mapping[str, Any]]) -> list[Encoded]:
    """Encode the samples as JSON, once for all retries.

    Lone surrogates, which JSON cannot represent, become U+FFFD. NaN and infinities become null.

    Raises:
        InvalidSample: an unknown or missing field, or a value that JSON cannot represent.
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
    """Convert a value of numpy or torch, or a subclass of str (numpy.str_), to a type that JSON
    can represent, without importing these libraries.

    Raises:
        TypeError: the value has another type.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if hasattr(value, "tolist"):  # arrays, tensors and numpy's scalars
        return value.tolist()
    raise TypeError(f"JSON cannot represent a {type(value).__name__}")


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
    """Return the body of `POST /score`.

    `time_left_s` is the time that the client will wait. Without `run`, older servers accept it too.
    """
    margin_s = min(MAX_ANSWER_MARGIN_S, ANSWER_MARGIN_FRACTION * time_left_s)
    raw: list[Any] = [msgspec.Raw(sample.json) for sample in samples]
    deadline_ms = max(1.0, round((time_left_s - margin_s) * 1e3))
    request = ScoreRequest(raw, profile, deadline_ms, priority, explain, run, step)
    return msgspec.json.encode(request)


def parse(body: bytes, samples: Sequence[Encoded], profile: str) -> list[ScoreResult]:
    """Return the results in `body`, checked against the samples and the profile of the request.

    Raises:
        MalformedAnswer: `body` is not JSON or does not match the request.
    """
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"the answer is not a score response: {error}") from error
    if answer.profile != profile:
        raise MalformedAnswer(f"expected an answer of profile {profile!r}, got {answer.profile!r}")
    if len(answer.results) != len(samples):
        raise MalformedAnswer(f"expected {len(samples)} results, got {len(answer.results)}")
    return [
        _checked(result, sample, answer)
        for result, sample in zip(answer.results, samples, strict=True)
    ]


def _checked(result: SampleResult, sample: Encoded, answer: ScoreResponse) -> ScoreResult:
    if result.id != sample.id:
        raise MalformedAnswer(f"expected the result of {sample.id!r}, got that of {result.id!r}")
    scored = result.status == "ok"
    if scored is (result.reward is None) or scored is (result.error is not None):
        raise MalformedAnswer(
            f"sample {sample.id!r} has status {result.status!r}, reward {result.reward!r} and "
            f"error {result.error!r}; expected a reward with ok, an error with error, never both"
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
    """Return the profiles in the body of `GET /profiles`.

    Raises:
        MalformedAnswer: it is not a list of profiles.
    """
    try:
        return _decode_profiles(body).profiles
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"the answer is not a list of profiles: {error}") from error


def too_large(
    sample: Encoded, profile: str, members: Sequence[Encoded] | None = None
) -> ScoreResult:
    """Return the error result of a sample that is too large for any request.

    `members`: the samples of its group, if the whole group is too large.
    """
    what = f"this sample of {len(sample.json)} bytes"
    if members:
        size = sum(len(member.json) for member in members)
        what = (
            f"group {sample.group!r} of {len(members)} samples, {size} bytes, which is scored whole"
        )
    message = f"the server accepts no request as large as {what}"
    error = SampleError("response_too_large", message, retryable=False)
    return ScoreResult(sample.id, "error", None, {}, error, profile=profile, fingerprint="")


def broken(sample: Encoded, profile: str, why: str) -> ScoreResult:
    """Return the error result of a sample that the server answers with a 500 each time."""
    error = SampleError("scorer_failed", f"the server fails on this sample: {why}", retryable=False)
    return ScoreResult(sample.id, "error", None, {}, error, profile=profile, fingerprint="")


def complete(results: Sequence[ScoreResult]) -> None:
    """Give results made by the client the score keys and the fingerprint of the server's."""
    scored = next((result for result in results if result.fingerprint), None)
    for result in results:
        if scored is not None and not result.fingerprint:
            result.scores = dict.fromkeys(scored.scores)
            result.fingerprint = scored.fingerprint


def failure(status: int, body: bytes, retry_after: str | None, now_s: float) -> Failure:
    """Return the failure that a retryable answer describes. `now_s` is the time since the epoch."""
    return Failure(f"{status}: {_error(body).message}", retry_after_s(retry_after, now_s), status)


def refusal(status: int, body: bytes, url: str) -> RequestRefused:
    """Return the error for an answer that is neither a success nor retryable."""
    error = _error(body)
    advice = WHAT_TO_DO.get(status, f"is {url} a Touchstone reward server?")
    return REFUSALS.get(status, RequestRefused)(
        f"{url} answered {status}: {error.message}; {advice}",
        status=status,
        code=error.code or None,
        request_id=error.request_id or None,
    )


def _error(body: bytes) -> ErrorDetail:
    """Return the error in `body`; if it is not an error of Touchstone, the beginning of `body`."""
    try:
        return _decode_error(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ErrorDetail("", body[:200].decode("utf-8", "replace").strip() or "no message", "")
