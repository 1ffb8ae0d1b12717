"""Every way a client call can fail.

    RewardClientError               what the clients raise; `results` has what had arrived
    ├── InvalidSample               a sample that cannot be sent; nothing was (also a ValueError)
    ├── RewardServerUnavailable     time or tries ran out with samples unanswered
    ├── ClientClosed                the client was closed while it waited
    ├── RequestRefused              an answer that sending again cannot mend
    │   ├── Unauthorized            401, 403
    │   ├── UnknownProfile          404
    │   └── InvalidRequest          422
    ├── MalformedAnswer             a 200 that is not what the wire promises, or too large
    ├── UnknownHost                 no server's name can be resolved
    ├── UntrustedCertificate        a certificate is refused, or TLS is spoken on one side only
    └── RewardsUnusable             adapters only: training on these rewards would go wrong
        ├── MissingColumn           the batch lacks a column that the profile needs
        ├── NoReward                samples have no reward, and nothing may stand for one
        ├── TooManyFailures         more rewards failed, for longer, than was allowed
        ├── PreflightFailed         right and wrong answers get the same reward
        └── StoppedByAlarm          the server's watch raised an alarm, and on_alarm is "stop"

A sample that could not be scored is no exception: it is a result with status `error`.
"""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.clients.results import ScoreResult


class RewardClientError(Exception):
    """The root. `results`: one entry a sample in the order given, None where no answer came."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.results: Sequence[ScoreResult | None] = []


class InvalidSample(RewardClientError, ValueError):
    """A sample that the wire cannot carry. The message names its place and what is wrong."""


class RewardServerUnavailable(RewardClientError):
    """Samples are left unanswered; the message has the last failure and what to do."""


class ClientClosed(RewardClientError):
    """Another thread or task closed the client while this call waited for its answer."""


class RequestRefused(RewardClientError):
    """The server understood and said no. `code` and `request_id` are null if it is not ours."""

    def __init__(
        self, message: str, *, status: int, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class Unauthorized(RequestRefused):
    """No key, or a wrong one."""


class UnknownProfile(RequestRefused):
    """No such profile; or the URL leads to something that is no reward server."""


class InvalidRequest(RequestRefused):
    """The body does not fit the wire: often a client and a server of different versions."""


class MalformedAnswer(RewardClientError):
    """Wrong length, ids or profile, a reward that contradicts its status, too large, or no JSON."""


class UnknownHost(RewardClientError):
    """No server's name can be resolved, and none of them has ever answered."""


class UntrustedCertificate(RewardClientError):
    """No server can be spoken to over TLS: the message tells why, and what to set."""


class RewardsUnusable(RewardClientError):
    """An adapter stops the training: its rewards are missing, or teach nothing."""


class MissingColumn(RewardsUnusable):
    """The batch lacks a column; the message names the columns that are there."""


class NoReward(RewardsUnusable):
    """Samples could not be scored, and nothing was chosen to stand for their rewards."""


class TooManyFailures(RewardsUnusable):
    """More rewards failed than `max_failed_frac` allows, for `failed_steps_patience` batches."""


class PreflightFailed(RewardsUnusable):
    """Answers known to be right and wrong get the same reward, or none."""


class StoppedByAlarm(RewardsUnusable):
    """The server's watch raised an alarm of this run, and it was asked to stop there."""
