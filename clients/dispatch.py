"""Distribute the samples of calls over requests: split large calls, let small ones share a request.

No sample is delayed in order to be batched: samples that queue up while `max_in_flight` requests
are open go out with the next request. The samples of one call and group are sent, and sent again,
in one request, unless they exceed its limits and the profile does not score whole groups.
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
from touchstone_rewards.clients.transport import CLOSED, Exchange, HttpAnswer, Transport, body_of
from touchstone_rewards.reward_server.schemas import Priority

# Consecutive 500s before a request is split in half, and before a single sample is given up.
TRIES_500, TRIES_500_ALONE = 3, 6


class Lane(NamedTuple):
    """The settings that all samples of one request share."""

    profile: str
    priority: Priority
    explain: bool
    run: str | None = None
    step: int | None = None


class ClientCall:
    """One call of `score`. `ended` is done once every sample is answered or given up."""

    def __init__(self, count: int, gives_up_at_s: float) -> None:
        self.results: list[ScoreResult | None] = [None] * count
        self.gives_up_at_s = gives_up_at_s
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = count
        self.broken = 0  # samples that the server answers with a 500 each time

    def close_one(self) -> None:
        """Count one more sample as answered or given up."""
        self._open -= 1
        if self._open == 0 and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the call with an error, unless it has ended."""
        if not self.ended.done():
            self.ended.set_exception(error)


class PendingSample(NamedTuple):
    """A sample, the place of its result, and the number of retryable errors received so far."""

    sample: Encoded
    call: ClientCall
    place: int
    attempt: int = 0


class Dispatcher:
    """Sends the samples of all calls in one event loop, with at most `max_in_flight` requests."""

    def __init__(self, transport: Transport, *, batch_size: int, max_in_flight: int) -> None:
        self.transport = transport
        self._batch_size = batch_size
        self._max_in_flight = max_in_flight
        self._waiting: dict[Lane, deque[PendingSample]] = {}
        self._apart: deque[tuple[Lane, list[PendingSample]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._calls: set[ClientCall] = set()
        self._whole: dict[str, bool] = {}

    def submit(self, lane: Lane, call: ClientCall, samples: Sequence[Encoded]) -> None:
        """Queue the samples; their results are written to `call.results`."""
        self._calls.add(call)
        call.ended.add_done_callback(lambda _: self._calls.discard(call))
        self._queue(
            lane, [PendingSample(samples[place], call, place) for place in by_group(samples)]
        )

    async def aclose(self) -> None:
        """Close the connections. Waiting calls raise `ClientClosed`."""
        for call in list(self._calls):
            call.fail(ClientClosed(CLOSED))
        senders = list(self._senders)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        await self.transport.aclose()

    def _queue(self, lane: Lane, entries: Sequence[PendingSample]) -> None:
        self._waiting.setdefault(lane, deque()).extend(entries)
        self._wake(len(entries))

    def _wake(self, wanted: int) -> None:
        """Start up to `wanted` senders within `max_in_flight`. They end when the queue is empty."""
        for _ in range(min(wanted, self._max_in_flight - len(self._senders))):
            self._senders.add(asyncio.create_task(self._send_waiting()))

    async def _send_waiting(self) -> None:
        try:
            while (taken := self._take()) is not None:
                lane, entries = taken
                try:
                    await self._send(lane, entries)
                except Exception as error:  # noqa: BLE001 (request boundary: fail the callers)
                    for entry in entries:
                        entry.call.fail(error)
        finally:
            # Not in a callback of the task: a call queued before it ran would find no sender.
            self._senders.discard(asyncio.current_task())  # type: ignore[arg-type]

    def _take(self) -> tuple[Lane, list[PendingSample]] | None:
        """Take the samples of the next request: lanes take turns, oldest samples first."""
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

    async def _scores_groups(self, lane: Lane, entries: Sequence[PendingSample]) -> bool:
        """Return whether the profile scores whole groups; True if no server answers."""
        if lane.profile not in self._whole:
            gives_up_at_s = max(entry.call.gives_up_at_s for entry in entries)
            answer = await self.transport.answer(Exchange("GET", "/profiles"), gives_up_at_s)
            if answer is None or answer.status != 200:
                return True
            infos = protocol.parse_profiles(body_of(answer))
            found = next((info for info in infos if info.name == lane.profile), None)
            self._whole[lane.profile] = found is not None and found.groups is not None
        return self._whole[lane.profile]

    async def _send(self, lane: Lane, entries: list[PendingSample]) -> None:
        samples = [entry.sample for entry in entries]
        alone = len(entries) == 1
        too_many = len(entries) > self._batch_size or _bytes(entries) > protocol.MAX_BATCH_BYTES
        if not alone and too_many and not await self._scores_groups(lane, entries):
            parts = cut(entries, self._batch_size)
            self._apart.extend((lane, part) for part in parts)
            self._wake(len(parts))
            return
        tries_500 = TRIES_500_ALONE if alone else TRIES_500
        body = partial(protocol.build, samples, *lane[:3], run=lane.run, step=lane.step)
        exchange = Exchange("POST", "/score", body, tries_500)
        gives_up_at_s = max(entry.call.gives_up_at_s for entry in entries)
        try:
            answer = await self.transport.answer(exchange, gives_up_at_s)
        except MalformedAnswer as error:  # too large
            if alone or not await self._halve(lane, entries):
                self._refuse(lane, entries, error)
            return
        if answer is None:
            for entry in entries:
                entry.call.close_one()
        elif answer.status in (413, 500):
            if alone or not await self._halve(lane, entries):
                self._give_up(lane, entries, answer)
        else:
            await self._take_results(lane, entries, answer)

    def _give_up(self, lane: Lane, entries: list[PendingSample], answer: HttpAnswer) -> None:
        """Make error results for a sample or a group that cannot be split and still fails."""
        members = samples = [entry.sample for entry in entries]
        if len(entries) == 1:
            members = None
        for entry, sample in zip(entries, samples, strict=True):
            if answer.status == 413:
                self._settle(entry, protocol.too_large(sample, lane.profile, members))
            else:
                why = answer.content.decode(errors="replace")
                entry.call.broken += 1
                self._settle(entry, protocol.broken(sample, lane.profile, why))

    async def _take_results(
        self, lane: Lane, entries: list[PendingSample], answer: HttpAnswer
    ) -> None:
        samples = [entry.sample for entry in entries]
        try:
            results = protocol.parse(body_of(answer), samples, lane.profile)
        except RewardClientError as error:
            self._refuse(lane, entries, error)
        else:
            await self._keep(lane, entries, results)

    async def _halve(self, lane: Lane, entries: list[PendingSample]) -> bool:
        """Queue the two halves of a request that is too large or that the server fails on. Return
        False if it cannot be split: one sample, or one group that is scored whole."""
        groups = units(entries)
        if len(groups) == 1 and await self._scores_groups(lane, entries):
            return False
        middle = len(entries) // 2
        if len(groups) > 1:
            middle = sum(map(len, groups[: len(groups) // 2]))
        self._apart.extendleft([(lane, entries[middle:]), (lane, entries[:middle])])
        self._wake(1)
        return True

    def _settle(self, entry: PendingSample, result: ScoreResult) -> None:
        entry.call.results[entry.place] = result
        entry.call.close_one()

    def _refuse(self, lane: Lane, entries: list[PendingSample], error: RewardClientError) -> None:
        """Fail the call. If several calls share the request, resend the samples of each one."""
        by_call: dict[ClientCall, list[PendingSample]] = {}
        for entry in entries:
            by_call.setdefault(entry.call, []).append(entry)
        if len(by_call) > 1:
            self._apart.extend((lane, own) for own in by_call.values())
            self._wake(len(by_call))
        else:
            entries[0].call.fail(error)

    async def _keep(
        self, lane: Lane, entries: list[PendingSample], results: list[ScoreResult]
    ) -> None:
        """Store the results. Queue samples with a retryable error again, with their whole group if
        the profile scores whole groups."""
        again: list[PendingSample] = []
        failed = [each.error is not None and each.error.retryable for each in results]
        if any(failed) and len(units(entries)) < len(entries):
            whole = await self._scores_groups(lane, entries)
            failed = _with_their_groups(entries, failed) if whole else failed
        for entry, result, retried in zip(entries, results, failed, strict=True):
            entry.call.results[entry.place] = result
            if retried:
                again.append(entry._replace(attempt=entry.attempt + 1))
            else:
                entry.call.close_one()
        if again:
            delay_s = self.transport.retry.delay_s(max(entry.attempt for entry in entries))
            asyncio.get_running_loop().call_later(delay_s, self._queue, lane, again)


def by_group(samples: Sequence[Encoded]) -> Sequence[int]:
    """Return the samples' positions, with the members of a group next to its first member.

    Example:
        >>> by_group([Encoded("1", b"", "a"), Encoded("2", b""), Encoded("3", b"", "a")])
        [0, 2, 1]
    """
    first: dict[str, int] = {}
    order = [
        place if sample.group is None else first.setdefault(sample.group, place)
        for place, sample in enumerate(samples)
    ]
    return sorted(range(len(samples)), key=order.__getitem__)


def units(entries: Sequence[PendingSample]) -> list[list[PendingSample]]:
    """Split the entries into runs of the same call and group."""
    found: list[list[PendingSample]] = []
    for entry in entries:
        if found and _together(found[-1][-1], entry):
            found[-1].append(entry)
        else:
            found.append([entry])
    return found


def cut(entries: Sequence[PendingSample], max_samples: int) -> list[list[PendingSample]]:
    """Split the entries into parts that each fit one request, across groups if necessary."""
    parts: list[list[PendingSample]] = []
    total = 0
    for entry in entries:
        size = len(entry.sample.json)
        if not parts or len(parts[-1]) == max_samples or total + size > protocol.MAX_BATCH_BYTES:
            parts.append([])
            total = 0
        parts[-1].append(entry)
        total += size
    return parts


def take(
    queue: deque[PendingSample], max_samples: int, max_bytes: int = protocol.MAX_BATCH_BYTES
) -> list[PendingSample]:
    """Take the oldest entries that fit one request, and drop those whose call has ended.

    The samples of one call and group are taken together, and nothing else with them if they exceed
    the limits.
    """
    taken: list[PendingSample] = []
    total = 0
    while queue and len(taken) < max_samples:
        unit = _next_unit(queue)
        size = _bytes(unit)
        if taken and unit and (total + size > max_bytes or len(taken) + len(unit) > max_samples):
            queue.extendleft(reversed(unit))
            break
        taken += unit
        total += size
    return taken


def _next_unit(queue: deque[PendingSample]) -> list[PendingSample]:
    unit: list[PendingSample] = []
    while queue and (not unit or _together(unit[-1], queue[0])):
        entry = queue.popleft()
        if not entry.call.ended.done():
            unit.append(entry)
    return unit


def _together(one: PendingSample, other: PendingSample) -> bool:
    group = one.sample.group
    return group is not None and group == other.sample.group and one.call is other.call


def _with_their_groups(entries: Sequence[PendingSample], failed: Sequence[bool]) -> list[bool]:
    """Return for each entry whether a member of its group has failed."""
    of = [(id(entry.call), entry.sample.group or entry.place) for entry in entries]
    groups = {group for group, lost in zip(of, failed, strict=True) if lost}
    return [group in groups for group in of]


def _bytes(entries: Sequence[PendingSample]) -> int:
    return sum(len(entry.sample.json) for entry in entries)
