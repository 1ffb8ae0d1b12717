"""Defer small work until there is enough to do it together.

Items, each with a weight, are handed over as a list: soon after the first one, at once if their
weight is large, and before anyone reads the result. Counting a single request costs as much as
scoring a sample; counting many together costs far less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SOON_S = 0.1
# A weight that takes some milliseconds of work.
MOST_WEIGHT = 4096


class Deferred(Generic[T]):
    """Calls `work` with the added items, in order. Use it from one event loop only."""

    def __init__(self, work: Callable[[list[T]], None]) -> None:
        self._work = work
        self._items: list[T] = []
        self._weight = 0

    def add(self, item: T, weight: int) -> None:
        """Add an item to be handled soon."""
        if not self._items:
            asyncio.get_running_loop().call_later(SOON_S, self.now)
        self._items.append(item)
        self._weight += weight
        if self._weight >= MOST_WEIGHT:
            self.now()

    def now(self) -> None:
        """Handle all waiting items."""
        items, self._items, self._weight = self._items, [], 0
        if items:
            self._work(items)
