"""How much one verdict may cost: a meter that every evaluation draws from.

A verdict starts with `refill`; what it spends is counted in evaluations of a small node, costly
functions at their worth. Where nothing is left the verdict is no, in bounded time by design. One
process decides one pair at a time, as it has one precision of balls.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

WORK = 12_000  # some 15 ms


class TooMuchWork(Exception):
    """The pair would take longer than any honest answer does."""


class Meter:
    """What is left of the present verdict's work."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WORK


METER = Meter()


def refill() -> None:
    METER.left = WORK


@contextmanager
def at_rate(rate: int) -> Generator[None]:
    """Draw `rate` times as much from the meter for all that is done inside."""
    before = METER.left
    allowed = METER.left = before // rate
    try:
        yield
    finally:
        METER.left = before - (allowed - METER.left) * rate


def spend(cost: int) -> None:
    """Draw from the meter.

    Raises:
        TooMuchWork: it is empty.
    """
    METER.left -= cost
    if METER.left < 0:
        raise TooMuchWork("too much work to decide")
