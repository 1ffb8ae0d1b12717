"""All errors of the server, and the table that decides which sample errors are retryable.

    TouchstoneError
    ├── ConfigError            the operator's input: a setting, a profile, a command's file
    ├── RunFailed              a command that cannot go on though its input was good
    └── RequestError           the HTTP status speaks for the request
        ├── Unauthorized       401
        ├── Forbidden          403
        ├── UnknownProfile     404
        ├── UnknownModel       404
        ├── RequestTooLarge    413
        ├── UnsupportedEncoding 415
        ├── InvalidRequest     422
        ├── NoReward           422  a foreign format's trainer does not know null
        ├── QueueFull          429  carries Retry-After
        ├── HeadersTooLarge    431
        ├── InternalError      500
        ├── NotReady           503  carries Retry-After
        ├── NoRewardNow        503  like NoReward, but retryable
        └── RequestDeadline    504

The failure of one sample is data, not an exception: see `sample_error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from touchstone_rewards.reward_server.schemas import SampleError, SampleErrorCode

# The status under which a request is counted and logged if its caller hung up; nothing is sent.
CLIENT_GONE = 499


class TouchstoneError(Exception):
    """The base class: `except TouchstoneError` catches everything this package raises on purpose.

    Example:
        >>> try:
        ...     raise ConfigError("port is 99999; expected at most 65535")
        ... except TouchstoneError as error:
        ...     print(error)
        port is 99999; expected at most 65535
    """


class ConfigError(TouchstoneError):
    """The operator's input is invalid. The message says what came and what to do."""


class RunFailed(TouchstoneError):
    """A command cannot go on, for example because the disk is full. The message says what is
    kept."""


class RequestError(TouchstoneError):
    """A request that gets no results. `retry_after_s` becomes the `Retry-After` header; `headers`
    are sent as well."""

    status = 500
    code = "internal_error"
    retry_after_s: float | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class Unauthorized(RequestError):
    """The request has no key, or a wrong one, and the server needs one."""

    status, code = 401, "unauthorized"
    # Basic is accepted but not asked for: a browser would keep the password and send it for others.
    headers = MappingProxyType({"www-authenticate": "Bearer"})


class Forbidden(RequestError):
    """The caller may not do this: its key may only score, or the page is of another origin."""

    status, code = 403, "forbidden"


class UnknownProfile(RequestError):
    """No profile of this name is served; the message lists those that are."""

    status, code = 404, "unknown_profile"


class UnknownModel(RequestError):
    """No model of this name is loaded."""

    status, code = 404, "unknown_model"


class RequestTooLarge(RequestError):
    """The request has more bytes or samples than allowed; a smaller one would be accepted."""

    status, code = 413, "request_too_large"


class UnsupportedEncoding(RequestError):
    """The body is compressed with a method that this server does not read."""

    status, code = 415, "unsupported_encoding"


class InvalidRequest(RequestError):
    """The body does not match the schema; the message names the place."""

    status, code = 422, "invalid_request"


class NoReward(RequestError):
    """A sample has no reward, and the caller's format has no null for a single sample."""

    status, code = 422, "no_reward"


class NoRewardNow(RequestError):
    """Like `NoReward`, but retryable."""

    status, code, retry_after_s = 503, "no_reward", 1.0


class QueueFull(RequestError):
    """The queue is full; the request may be sent again after `retry_after_s`."""

    status, code, retry_after_s = 429, "queue_full", 1.0


class HeadersTooLarge(RequestError):
    """The headers of the request, or of a part of its body, are too long."""

    status, code = 431, "headers_too_large"


class InternalError(RequestError):
    """The server failed; the request may be valid."""

    status, code = 500, "internal_error"


class NotReady(RequestError):
    """The server is starting, stopping or out of connections; retry later or elsewhere."""

    status, code, retry_after_s = 503, "not_ready", 1.0


class RequestDeadline(RequestError):
    """The deadline of the whole request passed before all samples had an answer."""

    status, code = 504, "request_deadline"


# Is the error retryable? A sample that ran into its deadline or killed a worker would do so again;
# one that never got its turn before the request's deadline may succeed.
SAMPLE_ERRORS: dict[SampleErrorCode, bool] = {
    "deadline_exceeded": False,
    "scorer_failed": False,
    "bad_ground_truth": False,
    "missing_field": False,
    "response_too_large": False,
    "worker_lost": False,
    "upstream_failed": True,
    "unsupported_input": False,
}


def sample_error(
    code: SampleErrorCode, message: str, *, retryable: bool | None = None
) -> SampleError:
    """Return a sample's failure as data; `retryable` defaults to the table's value for the code."""
    return SampleError(code, message, SAMPLE_ERRORS[code] if retryable is None else retryable)
