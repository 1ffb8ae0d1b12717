"""Limit the work of one verdict with a meter that every evaluation draws from.

A verdict starts with `refill`. Its cost is counted in evaluations of a small node; expensive
functions cost more. When the meter is empty the verdict is negative, which bounds the time. A
process decides one pair at a time, because the precision of balls is global too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

WORK = 12_000  # some 15 ms


class TooMuchWork(Exception):
    """The pair would take longer than any honest answer."""


class Meter:
    """Work left for the current verdict."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = WORK


METER = Meter()


def refill() -> None:
    METER.left = WORK


@contextmanager
def at_rate(rate: int) -> Generator[None]:
    """Draw `rate` times as much from the meter for everything done inside the block."""
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
