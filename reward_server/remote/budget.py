"""Limit the cost of endpoint calls per hour and per server run.

Before a call is sent, its largest possible cost is reserved; afterwards the reservation is replaced
by the actual cost. Concurrent calls therefore cannot exceed the budget together. A cost is counted
in several units: tokens and, with a price table, money.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HOUR_S = 3600.0
# The hour is counted in slices of this length; expired slices are dropped whole.
SLICE_S = 60.0
# Amount by unit, such as `tokens`.
CallCost = Mapping[str, float]


class Price(BaseModel):
    """Price per million tokens, for prompt (`input`) and completion (`output`) tokens.

    All prices of a table use the same currency.

    Example:
        >>> Price(input=0.1, output=0.3).of(2000, 1000)
        0.0005
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return the cost of this many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


class SpentMinute:
    """Cost, by unit, of the calls that began within one minute."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.spent: defaultdict[str, float] = defaultdict(float)


class Budget:
    """Spending limits per hour and per run. Times are seconds of one monotonic clock.

    `limits`: keyed by unit and span, such as `tokens_per_hour` or `cost_per_run`; None means no
    limit. `spent`: total by unit, reservations included.

    Example:
        >>> budget = Budget(tokens_per_hour=1000)
        >>> held = budget.hold({"tokens": 600}, now_s=0.0)
        >>> budget.lacks({"tokens": 600}, now_s=1.0)
        'the budget tokens_per_hour 1000 is spent: 600 used or held back'
        >>> budget.settle(held, {"tokens": 600}, {"tokens": 10})
        >>> budget.lacks({"tokens": 600}, now_s=2.0) is None
        True
    """

    def __init__(self, **limits: float | None) -> None:
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._hour: deque[SpentMinute] = deque()

    def lacks(self, cost: CallCost, now_s: float) -> str | None:
        """Return a sentence naming the limit that this cost would exceed, or None."""
        while self._hour and self._hour[0].began_s <= now_s - HOUR_S - SLICE_S:
            self._hour.popleft()
        for name, limit in self.limits.items():
            unit, span = name.split("_per_")
            spent = self.spent[unit]
            if span == "hour":
                spent = sum(minute.spent[unit] for minute in self._hour)
            if spent + cost[unit] > limit:
                return f"the budget {name} {limit} is spent: {spent:.10g} used or held back"
        return None

    def hold(self, cost: CallCost, now_s: float) -> SpentMinute:
        """Reserve this cost until `settle` replaces it."""
        if not self._hour or self._hour[-1].began_s <= now_s - SLICE_S:
            self._hour.append(SpentMinute(now_s))
        self._count(self._hour[-1], cost, 1)
        return self._hour[-1]

    def settle(self, minute: SpentMinute, held: CallCost, cost: CallCost) -> None:
        """Replace the reservation `held` with the actual `cost`."""
        self._count(minute, held, -1)
        self._count(minute, cost, 1)

    def _count(self, minute: SpentMinute, cost: CallCost, sign: int) -> None:
        for unit, amount in cost.items():
            minute.spent[unit] += sign * amount
            self.spent[unit] += sign * amount
