"""When a failed request is sent again, and to which server: for the client and for our endpoints.

`RetryPolicy` holds every number a caller may choose. The rest is fixed: retried are 408, 429 and
every 5xx, `Retry-After` is honoured, and delays are drawn with full jitter. Nothing here waits or
reads a clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

RETRIED_4XX = frozenset({408, 429})
# What a server may ask for: one that names the wrong century is asked again all the same.
LONGEST_REST_S = 600.0


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
    mends. `timed_out`: the server may have done the work for nothing.
    """

    why: str
    rest_s: float = 0.0
    status: int = 0
    lasting: type[Exception] | None = None
    timed_out: bool = False


def is_retried(status: int) -> bool:
    """Tell whether the same request may succeed later: yes for 408, 429 and every 5xx."""
    return status in RETRIED_4XX or status >= 500


def retry_after_s(value: str | None, now_s: float) -> float:
    """Return the seconds a `Retry-After` header asks for, given as seconds or as a date; else 0.

    It is at most `LONGEST_REST_S`.

    `now_s` is the time since the epoch.
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
    """One URL and its recent failures. Times are seconds of one monotonic clock.

    A server rests after a failure, and while one request tries whether it is back. `in_flight`:
    requests sent and not yet answered, where the caller counts them. `failures_in_a_row`: since the
    last answer. `may_be_back`: it was seen to be there since its last failure.
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
        """Note a failure; the server then rests for `rest_s`.

        Requests that were under way at the last failure and fail too are no further one in the row;
        nor is one that was turned away for its rate.
        """
        counts = sent_at_s is None or sent_at_s >= self.failed_at_s
        self.failures_in_a_row += counts and failure.status != 429
        self.failure, self.lasting = failure.why, failure.lasting
        self.failed_at_s = now_s
        self.may_be_back = False
        self.rests_until_s = max(self.rests_until_s, now_s + rest_s)
        self.tried_until_s = 0.0

    def succeeded(self, sent_at_s: float) -> None:
        """Note an answer; one to a request sent before the last failure proves no recovery."""
        self.answered = True
        if sent_at_s >= self.failed_at_s:
            self.failure = self.lasting = None
            self.failures_in_a_row = 0
            self.rests_until_s = self.tried_until_s = 0.0


def next_server(servers: list[ServerHealth], now_s: float) -> ServerHealth:
    """Return the server with the fewest requests in flight of those that do not rest; if all do,
    the first to be back. Among equals it is the next in turn.

    The chosen server moves to the end of `servers`.
    """
    chosen = min(servers, key=lambda server: (max(server.free_at_s, now_s), server.in_flight))
    servers.remove(chosen)
    servers.append(chosen)
    return chosen


class Breaker(NamedTuple):
    """When a server that keeps failing is left alone.

    After `failures` in a row a server rests for `rest_s`, twice as long after each further one, at
    most `max_rest_s`. Then a single request tries whether it is back.

    Example:
        >>> Breaker(failures=3, rest_s=1.0).rests_s(4)
        2.0
    """

    failures: int = 5
    rest_s: float = 0.5
    max_rest_s: float = 10.0

    def is_open(self, failures_in_a_row: int) -> bool:
        """Return whether a server with so many failures is left alone."""
        return failures_in_a_row >= self.failures

    def rests_s(self, failures_in_a_row: int) -> float:
        """Return the seconds that a server rests after so many failures; 0 if it is not left
        alone."""
        if not self.is_open(failures_in_a_row):
            return 0.0
        doubled = min(failures_in_a_row - self.failures, 30)
        return min(self.max_rest_s, self.rest_s * 2.0**doubled)


class RateLimit:
    """At most `per_s` requests a second, up to one second's worth of them at once.

    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    def __init__(self, per_s: float) -> None:
        if per_s <= 0:
            raise ValueError(f"a rate limit must be positive, got {per_s}")
        self._between_s = 1.0 / per_s
        self._burst_s = max(0.0, 1.0 - self._between_s)
        self._next_at_s = 0.0

    def take(self, now_s: float, gives_up_at_s: float) -> float | None:
        """Take a turn and return the seconds until it; None, and no turn is taken, if it would
        come after `gives_up_at_s`."""
        due_s = max(self._next_at_s, now_s)
        at_s = max(now_s, due_s - self._burst_s)
        if at_s > gives_up_at_s:
            return None
        self._next_at_s = due_s + self._between_s
        return at_s - now_s
