"""Run coroutines concurrently, cheaply.

A single coroutine runs in the awaiting task: creating and gathering another task would cost more
than most of these coroutines themselves, and would burden the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TypeVar

T = TypeVar("T")


async def together(work: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """Return all results; if one coroutine raises, cancel the others."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def outcomes(work: Sequence[Coroutine[None, None, T]]) -> list[T | BaseException]:
    """Return the result of each coroutine, or the exception it raised."""
    if len(work) != 1:
        return await asyncio.gather(*work, return_exceptions=True)
    try:
        return [await work[0]]
    except Exception as error:  # noqa: BLE001 (returned to the caller, as for several)
        return [error]
