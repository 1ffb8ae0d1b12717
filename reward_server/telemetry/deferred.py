"""Small work put off until there is enough of it to be done together.

In: items, each with a weight. Out: lists of them, handed over soon after the first came, at once
when their weight is large, and whenever someone is about to look at what comes of them. Counting a
request by itself costs as much as scoring a sample: many together, far less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SOON_S = 0.1
# Some milliseconds' work.
MOST_WEIGHT = 4096


class Deferred(Generic[T]):
    """`work` gets what was added, in order. It belongs to one event loop."""

    def __init__(self, work: Callable[[list[T]], None]) -> None:
        self._work = work
        self._items: list[T] = []
        self._weight = 0

    def add(self, item: T, weight: int) -> None:
        """Have it dealt with soon."""
        if not self._items:
            asyncio.get_running_loop().call_later(SOON_S, self.now)
        self._items.append(item)
        self._weight += weight
        if self._weight >= MOST_WEIGHT:
            self.now()

    def now(self) -> None:
        """Deal with all that waits."""
        items, self._items, self._weight = self._items, [], 0
        if items:
            self._work(items)
