"""When a failed request is sent again, and to which server.

`RetryPolicy` holds every number a caller may choose. The rest is fixed: retried are 408, 429 and
every 5xx, `Retry-After` is honoured, and delays are drawn with full jitter.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from touchstone_rewards.clients.errors import RewardClientError

RETRIED_4XX = frozenset({408, 429})


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon one request is sent again. The call's `timeout_s` bounds the whole.

    `max_tries`: requests sent at most, the first one included. The delay before try n is drawn
    between 0 and min(`max_delay_s`, `first_delay_s` * 2 ** n). Of several servers, one that failed
    gets a single request at a time, for at most `trial_s`, until it has answered one.

    Example:
        >>> RetryPolicy(max_tries=3, max_delay_s=1.0).delay_s(10, lambda: 0.5)
        0.5

    Source: "Exponential Backoff and Jitter", AWS Architecture Blog (2015), full jitter.
    """

    max_tries: int = 100
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0
    trial_s: float = 5.0

    def __post_init__(self) -> None:
        numbers = (self.max_tries, self.first_delay_s, self.max_delay_s, self.trial_s)
        if min(numbers) <= 0:
            raise ValueError(f"tries and delays must be positive, got {self}")

    def delay_s(self, attempt: int, random_fraction: Callable[[], float] = random.random) -> float:
        """Draw the seconds to wait after failure number `attempt`, counted from 0."""
        longest_s = min(self.max_delay_s, self.first_delay_s * 2.0 ** min(attempt, 30))
        return random_fraction() * longest_s


class Failure(NamedTuple):
    """Why a try failed, and how long the server asked to be left alone.

    `status`: of the answer, 0 where none came. `lasting`: the error for a failure that no retry
    mends.
    """

    why: str
    rest_s: float = 0.0
    status: int = 0
    lasting: type[RewardClientError] | None = None


def is_retried(status: int) -> bool:
    """Tell whether the same request may succeed later: yes for 408, 429 and every 5xx."""
    return status in RETRIED_4XX or status >= 500


def retry_after_s(value: str | None, now_s: float) -> float:
    """Return the seconds a `Retry-After` header asks for, given as seconds or as a date; else 0.

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


class ServerHealth:
    """One URL and its recent failures. Times are seconds of one monotonic clock.

    A server rests after a failure, and while one request tries whether it is back.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.failure: str | None = None
        self.lasting: type[RewardClientError] | None = None
        self.answered = False
        self.failed_at_s = 0.0
        self.rests_until_s = 0.0
        self.tried_until_s = 0.0

    @property
    def free_at_s(self) -> float:
        return max(self.rests_until_s, self.tried_until_s)

    def failed(self, failure: Failure, now_s: float, rest_s: float) -> None:
        """Note a failure; the server then rests for `rest_s`."""
        self.failure, self.lasting = failure.why, failure.lasting
        self.failed_at_s = now_s
        self.rests_until_s = max(self.rests_until_s, now_s + rest_s)
        self.tried_until_s = 0.0

    def succeeded(self, sent_at_s: float) -> None:
        """Note an answer; one to a request sent before the last failure proves no recovery."""
        self.answered = True
        if sent_at_s >= self.failed_at_s:
            self.failure = self.lasting = None
            self.rests_until_s = self.tried_until_s = 0.0


def next_server(servers: list[ServerHealth], now_s: float) -> ServerHealth:
    """Return the next server in turn that does not rest; if all do, the first to be back.

    The chosen server moves to the end of `servers`.
    """
    chosen = min(servers, key=lambda server: max(server.free_at_s, now_s))
    servers.remove(chosen)
    servers.append(chosen)
    return chosen
