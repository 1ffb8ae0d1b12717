"""Every way a client call can fail.

    RewardClientError               what the clients raise; `results` has what had arrived
    ├── InvalidSample               a sample that cannot be sent; nothing was (also a ValueError)
    ├── RewardServerUnavailable     time or tries ran out with samples unanswered
    ├── ClientClosed                the client was closed while it waited
    ├── RequestRefused              an answer that sending again cannot mend
    │   ├── Unauthorized            401, 403
    │   ├── UnknownProfile          404
    │   └── InvalidRequest          422
    └── MalformedAnswer             a 200 that is not what the wire promises, or too large

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
