"""The errors of a client call.

    RewardClientError               the root; `results` has the results so far
    ├── InvalidSample               a sample cannot be sent, so nothing was (also a ValueError)
    ├── RewardServerUnavailable     time or tries ran out before all samples had an answer
    ├── ClientClosed                the client was closed during the call
    ├── RequestRefused              the server refused the request; a retry would not help
    │   ├── Unauthorized            401, 403
    │   ├── UnknownProfile          404
    │   └── InvalidRequest          422
    ├── MalformedAnswer             a 200 that does not follow the wire format, or is too large
    ├── UnknownHost                 no server's name can be resolved
    ├── UntrustedCertificate        a certificate is refused, or only one side uses TLS
    └── RewardsUnusable             raised by adapters, to stop a training run
        ├── MissingColumn           the batch lacks a column that the profile needs
        ├── NoReward                samples have no reward, and no substitute was configured
        ├── TooManyFailures         too many rewards failed in too many consecutive batches
        ├── PreflightFailed         right and wrong answers get the same reward
        └── StoppedByAlarm          the server's watch raised an alarm, and on_alarm is "stop"

A sample that could not be scored raises nothing: its result has the status `error`.
"""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.clients.results import ScoreResult


class RewardClientError(Exception):
    """The root. `results` has one entry per sample, in order: None if it got no answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.results: Sequence[ScoreResult | None] = []


class InvalidSample(RewardClientError, ValueError):
    """A sample that cannot be sent. The message gives its position and the reason."""


class RewardServerUnavailable(RewardClientError):
    """Samples have no answer. The message has each server's last failure and what to do."""


class ClientClosed(RewardClientError):
    """Another thread or task closed the client during the call."""


class RequestRefused(RewardClientError):
    """The server refused the request. `code` and `request_id` are None if it is not Touchstone."""

    def __init__(
        self, message: str, *, status: int, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class Unauthorized(RequestRefused):
    """No key, or a wrong key."""


class UnknownProfile(RequestRefused):
    """No such profile, or the URL does not lead to a reward server."""


class InvalidRequest(RequestRefused):
    """The server cannot read the body. Client and server may be of different versions."""


class MalformedAnswer(RewardClientError):
    """An answer that is not JSON, is too large, or does not match the request."""


class UnknownHost(RewardClientError):
    """No server's name can be resolved, and no server has answered before."""


class UntrustedCertificate(RewardClientError):
    """No TLS connection to any server is possible. The message gives the reason and the setting."""


class RewardsUnusable(RewardClientError):
    """An adapter stops the run because rewards are missing or carry no information."""


class MissingColumn(RewardsUnusable):
    """The batch lacks a column. The message lists the columns that it has."""


class NoReward(RewardsUnusable):
    """Samples could not be scored, and no substitute for their rewards was configured."""


class TooManyFailures(RewardsUnusable):
    """More rewards than `max_failed_frac` failed in `failed_steps_patience` consecutive batches."""


class PreflightFailed(RewardsUnusable):
    """Right and wrong answers get the same reward, or none."""


class StoppedByAlarm(RewardsUnusable):
    """The server's watch raised an alarm about this run, and `on_alarm` is "stop"."""
