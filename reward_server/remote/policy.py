"""Decide when to retry a failed request and on which server; shared by client and server.

`RetryPolicy` holds every number that a caller may choose. The rest is fixed: retry on 408, 429 and
every 5xx, honour `Retry-After`, and draw delays with full jitter. Nothing here waits or reads a
clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

RETRIED_4XX = frozenset({408, 429})
# Cap on Retry-After: a server with a wrong clock is retried all the same.
LONGEST_REST_S = 600.0


@dataclass(frozen=True)
class RetryPolicy:
    """Retry limits and delays for one request. The call's `timeout_s` bounds the total time.

    `max_tries`: largest number of requests, the first one included. The delay before try n is drawn
    between 0 and min(`max_delay_s`, `first_delay_s` * 2 ** n). With several servers, a failed one
    gets a single request at a time, for at most `trial_s`, until it answers.

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
        """Draw the delay in seconds after failure number `attempt`, counted from 0."""
        longest_s = min(self.max_delay_s, self.first_delay_s * 2.0 ** min(attempt, 30))
        return random_fraction() * longest_s


class Failure(NamedTuple):
    """Why a try failed, and how long the server asked to be left alone.

    `status`: HTTP status, or 0 without an answer. `lasting`: the error to raise if retrying is
    useless. `timed_out`: the server may still have done the work.
    """

    why: str
    rest_s: float = 0.0
    status: int = 0
    lasting: type[Exception] | None = None
    timed_out: bool = False


def is_retried(status: int) -> bool:
    """Tell whether the same request may succeed later: true for 408, 429 and every 5xx."""
    return status in RETRIED_4XX or status >= 500


def retry_after_s(value: str | None, now_s: float) -> float:
    """Return the seconds requested by a `Retry-After` header, given as seconds or as a date; else
    0.

    The result is at most `LONGEST_REST_S`. `now_s`: seconds since the epoch.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return 0.0
    try:
        plain = value.strip().isdecimal()
        rest_s = float(value) if plain else parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, rest_s), LONGEST_REST_S)


class ServerHealth:
    """One server's URL and its recent failures. Times are seconds of one monotonic clock.

    A server rests after a failure, and while a trial request checks whether it has recovered.
    `in_flight`: unanswered requests, if the caller counts them. `failures_in_a_row`: since the last
    answer. `may_be_back`: a health check has succeeded since the last failure.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.failure: str | None = None
        self.lasting: type[Exception] | None = None
        self.answered = False
        self.failed_at_s = 0.0
        self.rests_until_s = 0.0
        self.tried_until_s = 0.0
        self.in_flight = 0
        self.failures_in_a_row = 0
        self.may_be_back = False

    @property
    def free_at_s(self) -> float:
        return max(self.rests_until_s, self.tried_until_s)

    def failed(
        self, failure: Failure, now_s: float, rest_s: float, sent_at_s: float | None = None
    ) -> None:
        """Record a failure; the server then rests for `rest_s`.

        Neither a failed request sent before the previous failure nor one refused by a rate limit
        counts as another failure in a row.
        """
        counts = sent_at_s is None or sent_at_s >= self.failed_at_s
        self.failures_in_a_row += counts and failure.status != 429
        self.failure, self.lasting = failure.why, failure.lasting
        self.failed_at_s = now_s
        self.may_be_back = False
        self.rests_until_s = max(self.rests_until_s, now_s + rest_s)
        self.tried_until_s = 0.0

    def succeeded(self, sent_at_s: float) -> None:
        """Record an answer. An answer to a request sent before the last failure proves no
        recovery.
        """
        self.answered = True
        if sent_at_s >= self.failed_at_s:
            self.failure = self.lasting = None
            self.failures_in_a_row = 0
            self.rests_until_s = self.tried_until_s = 0.0


def next_server(servers: list[ServerHealth], now_s: float) -> ServerHealth:
    """Return the server with the fewest requests in flight that is not resting.

    If all rest, return the one that is available first. Ties are broken in rotation: the chosen
    server moves to the end of `servers`.
    """
    chosen = min(servers, key=lambda server: (max(server.free_at_s, now_s), server.in_flight))
    servers.remove(chosen)
    servers.append(chosen)
    return chosen


class Breaker(NamedTuple):
    """Circuit breaker for a server that keeps failing.

    After `failures` in a row a server rests for `rest_s`, which doubles with each further failure
    up to `max_rest_s`. Then a single trial request checks whether it has recovered.

    Example:
        >>> Breaker(failures=3, rest_s=1.0).rests_s(4)
        2.0
    """

    failures: int = 5
    rest_s: float = 0.5
    max_rest_s: float = 10.0

    def is_open(self, failures_in_a_row: int) -> bool:
        """Tell whether a server with this many failures in a row is left alone."""
        return failures_in_a_row >= self.failures

    def rests_s(self, failures_in_a_row: int) -> float:
        """Return the rest in seconds after this many failures in a row; 0 below the limit."""
        if not self.is_open(failures_in_a_row):
            return 0.0
        doubled = min(failures_in_a_row - self.failures, 30)
        return min(self.max_rest_s, self.rest_s * 2.0**doubled)


class RateLimit:
    """Limit of `per_s` requests per second, with bursts of up to one second's worth.

    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    def __init__(self, per_s: float) -> None:
        if per_s <= 0:
            raise ValueError(f"a rate limit must be positive, got {per_s}")
        self._between_s = 1.0 / per_s
        self._burst_s = max(0.0, 1.0 - self._between_s)
        self._next_at_s = 0.0

    def take(self, now_s: float, gives_up_at_s: float) -> float | None:
        """Reserve a slot and return the seconds until it.

        Return None and reserve nothing if the slot would come after `gives_up_at_s`.
        """
        due_s = max(self._next_at_s, now_s)
        at_s = max(now_s, due_s - self._burst_s)
        if at_s > gives_up_at_s:
            return None
        self._next_at_s = due_s + self._between_s
        return at_s - now_s
