"""How many tokens an endpoint may cost: an hour, and as long as the server runs.

What a call may cost at most is held back before it is sent, and counted as what it did cost after.
So calls in flight cannot exceed the budget together.
"""

from __future__ import annotations

from collections import deque

HOUR_S = 3600.0
# The hour is counted in slices of this length, and forgotten by the slice.
SLICE_S = 60.0


class TokenMinute:
    """The tokens of the calls that began within one minute."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.tokens = 0


class Budget:
    """At most so many tokens in any hour and in all; None for no limit. Times are seconds of one
    monotonic clock.

    Example:
        >>> budget = Budget(per_hour=1000)
        >>> held = budget.hold(600, now_s=0.0)
        >>> budget.lacks(600, now_s=1.0)
        'tokens_per_hour 1000'
        >>> budget.settle(held, 600, cost=10)
        >>> budget.lacks(600, now_s=2.0) is None
        True
    """

    def __init__(self, per_hour: int | None = None, per_run: int | None = None) -> None:
        self.per_hour, self.per_run = per_hour, per_run
        self.run_tokens = 0
        self._hour: deque[TokenMinute] = deque()

    def lacks(self, tokens: int, now_s: float) -> str | None:
        """Return which limit leaves no room for so many tokens, or None."""
        while self._hour and self._hour[0].began_s <= now_s - HOUR_S - SLICE_S:
            self._hour.popleft()
        if self.per_run is not None and self.run_tokens + tokens > self.per_run:
            return f"tokens_per_run {self.per_run}"
        in_hour = sum(each.tokens for each in self._hour)
        if self.per_hour is not None and in_hour + tokens > self.per_hour:
            return f"tokens_per_hour {self.per_hour}"
        return None

    def hold(self, tokens: int, now_s: float) -> TokenMinute:
        """Count so many tokens, until `settle` says what they came to."""
        if not self._hour or self._hour[-1].began_s <= now_s - SLICE_S:
            self._hour.append(TokenMinute(now_s))
        self.run_tokens += tokens
        self._hour[-1].tokens += tokens
        return self._hour[-1]

    def settle(self, held: TokenMinute, tokens: int, cost: int) -> None:
        """Count `cost` in place of the tokens that were held."""
        held.tokens += cost - tokens
        self.run_tokens += cost - tokens
