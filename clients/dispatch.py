"""Calls to requests and back: a big call is cut, small ones that wait together share a request.

In: the encoded samples of a call. Out: the call's `results`, filled as answers come. No sample is
held back to be joined with others: what has gathered while all requests in flight were busy goes
out with the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from touchstone_rewards.clients import protocol
from touchstone_rewards.clients.errors import ClientClosed, MalformedAnswer, RewardClientError
from touchstone_rewards.clients.protocol import Encoded
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.clients.transport import CLOSED, Answer, Exchange, Transport, body_of
from touchstone_rewards.reward_server.schemas import Priority

# 500s in a row before a request is halved, or a sample that came alone is given up.
TRIES_500, TRIES_500_ALONE = 3, 6


class Lane(NamedTuple):
    """What the samples of one request have in common."""

    profile: str
    priority: Priority
    explain: bool


class Call:
    """One `score` on its way. `ended` is done once every sample is answered or given up."""

    def __init__(self, count: int, gives_up_at_s: float) -> None:
        self.results: list[ScoreResult | None] = [None] * count
        self.gives_up_at_s = gives_up_at_s
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = count
        self.broken = 0  # samples at which the server fails whenever they come

    def close_one(self) -> None:
        """One more sample is answered or given up."""
        self._open -= 1
        if self._open == 0 and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


class Entry(NamedTuple):
    """A sample, where its result belongs, and the number of retryable errors received so far."""

    sample: Encoded
    call: Call
    place: int
    attempt: int = 0


class Dispatcher:
    """All calls of one event loop, and at most `max_in_flight` requests for them at a time."""

    def __init__(self, transport: Transport, *, batch_size: int, max_in_flight: int) -> None:
        self.transport = transport
        self._batch_size = batch_size
        self._max_in_flight = max_in_flight
        self._waiting: dict[Lane, deque[Entry]] = {}
        self._apart: deque[tuple[Lane, list[Entry]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._calls: set[Call] = set()

    def submit(self, lane: Lane, call: Call, samples: Sequence[Encoded]) -> None:
        """Have the samples sent; `call` is told what becomes of them."""
        self._calls.add(call)
        call.ended.add_done_callback(lambda _: self._calls.discard(call))
        self._queue(lane, [Entry(sample, call, place) for place, sample in enumerate(samples)])

    async def aclose(self) -> None:
        """Close the connections; the calls that wait get `ClientClosed`."""
        for call in list(self._calls):
            call.fail(ClientClosed(CLOSED))
        senders = list(self._senders)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        await self.transport.aclose()

    def _queue(self, lane: Lane, entries: Sequence[Entry]) -> None:
        self._waiting.setdefault(lane, deque()).extend(entries)
        self._wake(len(entries))

    def _wake(self, wanted: int) -> None:
        """As many more senders as are wanted and allowed; one that finds nothing to do ends."""
        for _ in range(min(wanted, self._max_in_flight - len(self._senders))):
            self._senders.add(asyncio.create_task(self._send_waiting()))

    async def _send_waiting(self) -> None:
        try:
            while (taken := self._take()) is not None:
                lane, entries = taken
                try:
                    await self._send(lane, entries)
                except Exception as error:  # noqa: BLE001 (the request boundary: callers must hear)
                    for entry in entries:
                        entry.call.fail(error)
        finally:
            # Not in a callback of the task: a call that came before it would find no sender.
            self._senders.discard(asyncio.current_task())  # type: ignore[arg-type]

    def _take(self) -> tuple[Lane, list[Entry]] | None:
        """What goes into the next request: lanes take turns, each gives its oldest samples."""
        if self._apart:
            return self._apart.popleft()
        while self._waiting:
            lane = next(iter(self._waiting))
            queue = self._waiting.pop(lane)
            entries = take(queue, self._batch_size)
            if queue:
                self._waiting[lane] = queue
            if entries:
                return lane, entries
        return None

    async def _send(self, lane: Lane, entries: list[Entry]) -> None:
        samples = [entry.sample for entry in entries]
        alone = len(entries) == 1
        tries_500 = TRIES_500_ALONE if alone else TRIES_500
        body = partial(protocol.build, samples, *lane)
        exchange = Exchange("POST", "/score", body, tries_500)
        gives_up_at_s = max(entry.call.gives_up_at_s for entry in entries)
        try:
            answer = await self.transport.answer(exchange, gives_up_at_s)
        except MalformedAnswer as error:  # too large
            self._refuse(lane, entries, error) if alone else self._halve(lane, entries)
            return
        if answer is None:
            for entry in entries:
                entry.call.close_one()
        elif answer.status in (413, 500) and not alone:
            self._halve(lane, entries)
        elif answer.status == 413:
            self._settle(entries[0], protocol.too_large(entries[0].sample, lane.profile))
        elif answer.status == 500:
            why = answer.content.decode(errors="replace")
            entries[0].call.broken += 1
            self._settle(entries[0], protocol.broken(entries[0].sample, lane.profile, why))
        else:
            self._take_results(lane, entries, answer)

    def _take_results(self, lane: Lane, entries: list[Entry], answer: Answer) -> None:
        samples = [entry.sample for entry in entries]
        try:
            results = protocol.parse(body_of(answer), samples, lane.profile)
        except RewardClientError as error:
            self._refuse(lane, entries, error)
        else:
            self._keep(lane, entries, results)

    def _halve(self, lane: Lane, entries: list[Entry]) -> None:
        """Too much for the server, or one of them is: try halves, down to the sample alone."""
        middle = len(entries) // 2
        self._apart.extendleft([(lane, entries[middle:]), (lane, entries[:middle])])
        self._wake(1)

    def _settle(self, entry: Entry, result: ScoreResult) -> None:
        entry.call.results[entry.place] = result
        entry.call.close_one()

    def _refuse(self, lane: Lane, entries: list[Entry], error: RewardClientError) -> None:
        """An error is its call's alone: calls that shared a request are sent again, apart."""
        by_call: dict[Call, list[Entry]] = {}
        for entry in entries:
            by_call.setdefault(entry.call, []).append(entry)
        if len(by_call) > 1:
            self._apart.extend((lane, own) for own in by_call.values())
            self._wake(len(by_call))
        else:
            entries[0].call.fail(error)

    def _keep(self, lane: Lane, entries: list[Entry], results: list[ScoreResult]) -> None:
        """Keep the results; what may succeed if sent again is, while its call waits."""
        again: list[Entry] = []
        for entry, result in zip(entries, results, strict=True):
            entry.call.results[entry.place] = result
            if result.error is not None and result.error.retryable:
                again.append(entry._replace(attempt=entry.attempt + 1))
            else:
                entry.call.close_one()
        if again:
            delay_s = self.transport.retry.delay_s(max(entry.attempt for entry in entries))
            asyncio.get_running_loop().call_later(delay_s, self._queue, lane, again)


def take(
    queue: deque[Entry], max_samples: int, max_bytes: int = protocol.MAX_BATCH_BYTES
) -> list[Entry]:
    """Take the oldest entries that fit one request, dropping those whose call has ended.

    A sample beyond `max_bytes` travels alone.
    """
    taken: list[Entry] = []
    total = 0
    while queue and len(taken) < max_samples:
        total += len(queue[0].sample.json)
        if taken and total > max_bytes:
            break
        entry = queue.popleft()
        if entry.call.ended.done():
            total -= len(entry.sample.json)
        else:
            taken.append(entry)
    return taken
