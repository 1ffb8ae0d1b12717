"""Combine inputs of concurrent callers into batched requests.

Inputs submitted in the same pass of the event loop are sent together. If the endpoint refuses a
batch, each input is sent alone, so that only the bad one fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from touchstone_rewards.reward_server.remote.failed import BodyRefused

AskedT = TypeVar("AskedT")
ToldT = TypeVar("ToldT")


class Waiting(NamedTuple, Generic[AskedT, ToldT]):
    """One input, the time at which its caller gives up, and the future for the answer."""

    asked: AskedT
    give_up_at_s: float | None
    told: asyncio.Future[ToldT]


class Gathered(Generic[AskedT, ToldT]):
    """Batch up to `most` inputs per request; `send` returns one answer per input, in order."""

    def __init__(
        self,
        most: int,
        send: Callable[[Sequence[AskedT], float | None], Awaitable[Sequence[ToldT]]],
    ) -> None:
        self._most = most
        self._send = send
        self._waiting: list[Waiting[AskedT, ToldT]] = []
        self._sent: set[asyncio.Task[None]] = set()

    async def ask(self, asked: AskedT, give_up_at_s: float | None) -> ToldT:
        """Return the answer to one input.

        Raises:
            Exception: any error that `send` raised for the input.
        """
        loop = asyncio.get_running_loop()
        waiting = Waiting(asked, give_up_at_s, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        return await waiting.told

    def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            task = asyncio.get_running_loop().create_task(self._answer(batch))
            self._sent.add(task)
            task.add_done_callback(self._sent.discard)
            for each in batch:
                each.told.add_done_callback(lambda _, b=batch, t=task: _end_unwanted(b, t))

    async def _answer(self, batch: Sequence[Waiting[AskedT, ToldT]]) -> None:
        ends = [each.give_up_at_s for each in batch if each.give_up_at_s is not None]
        give_up_at_s = max(ends) if len(ends) == len(batch) else None
        try:
            found = await self._send([each.asked for each in batch], give_up_at_s)
        except BodyRefused as why:
            if len(batch) == 1:
                return _fail(batch, why)
            await asyncio.gather(*(self._answer([each]) for each in batch))
        except Exception as error:  # noqa: BLE001 (passed on to the callers)
            _fail(batch, error)
        else:
            for each, one in zip(batch, found, strict=True):
                if not each.told.done():
                    each.told.set_result(one)


def _fail(batch: Sequence[Waiting[AskedT, ToldT]], error: Exception) -> None:
    for each in batch:
        if not each.told.done():
            each.told.set_exception(error)


def _end_unwanted(batch: Sequence[Waiting[AskedT, ToldT]], task: asyncio.Task[None]) -> None:
    """Cancel a request if all of its callers have left."""
    if all(each.told.cancelled() for each in batch):
        task.cancel()
