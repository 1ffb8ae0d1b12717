"""Coroutines at the same time, as one.

One alone runs in the task that waits for it: a task of its own, and what gathers it, cost more than
most of what is waited for, and are looked through for garbage as long as it is in work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """Return what all of them come to; when one raises, the others are no longer wanted."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def outcomes(work: Sequence[Coroutine[None, None, T]]) -> list[T | BaseException]:
    """Return what each of them comes to, or what it raised."""
    if len(work) != 1:
        return await asyncio.gather(*work, return_exceptions=True)
    try:
        return [await work[0]]
    except Exception as error:  # noqa: BLE001 (the caller's to look at, as those of several are)
        return [error]
