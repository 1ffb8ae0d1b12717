"""Gather groups whose members come in several requests, and score each group once.

The scores depend only on the members that came, not on their order or their request.

A member can meet four cases:
- It waits until its group is complete, or until `deadline_s` after the group's first member. Then
  the members that came are scored as a group, or none of them is, as the profile says.
- It is sent again while it waits, or up to `deadline_s` after scoring: it gets the same scores.
- Its caller disconnects or its request's deadline passes first: it leaves the group.
- It comes after its group was scored: it gets no score, and the other scores stay.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.gathering import GroupConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

SHOWN_CHARACTERS = 80
# A sample's id and a digest of its response: ids are not always unique.
Identity = tuple[str, bytes]
Scores = Mapping[str, Score]
LATE = Score(
    error=sample_error(
        "deadline_exceeded", "the sample arrived after its group had been scored without it"
    )
)
GAVE_UP = Score(
    error=sample_error(
        "deadline_exceeded",
        "the request's deadline passed before its group was scored",
        retryable=True,
    )
)


class Candidate(NamedTuple):
    """A member of a group: the scores of other scorers, and the error if it cannot be scored."""

    sample: Sample
    scores: Scores
    refused: Score | None = None


class How(Struct, frozen=True):
    """The options that the members of a group are scored with."""

    explain: bool
    give_up_at_s: float | None
    priority: Any


class Key(NamedTuple):
    """The identity of a group. Members join only if their caller is the same and the same scorers,
    `made_of`, scored them."""

    caller: str
    profile: str
    made_of: str
    group_id: str


JudgeGroups = Callable[[Mapping[Identity, Candidate], How], Awaitable[Mapping[Identity, Scores]]]


class Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]


class Joined(NamedTuple):
    """The outcome for a member: its scores, and the name of the group it was scored in."""

    scores: Scores
    group: str


class Gathering:
    """One group. `missing`: the number of members that were missing when it was scored."""

    def __init__(self, key: Key, config: GroupConfig, size: int, judge: JudgeGroups) -> None:
        self.key, self.config, self.size, self.judge = key, config, size, judge
        self.members: dict[Identity, Candidate] = {}
        self.waiting: Counter[Identity] = Counter()
        self.hows: list[How] = []
        self.missing = 0
        self.name = uuid4().hex[:12]
        self.scored: asyncio.Future[Mapping[Identity, Scores]] = (
            asyncio.get_running_loop().create_future()
        )
        # All waiting callers may be gone: retrieve the error so that asyncio does not report it.
        self.scored.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.timer: Timer | None = None
        self.task: asyncio.Task[None] | None = None

    def how(self) -> How:
        """Return the options for the whole group: the latest deadline, explanations if any."""
        ends = [how.give_up_at_s for how in self.hows]
        known = [end for end in ends if end is not None]
        return How(
            any(how.explain for how in self.hows),
            max(known) if known and len(known) == len(ends) else None,
            "train" if any(how.priority == "train" for how in self.hows) else "eval",
        )


class Gatherer:
    """The groups that are being gathered. Call its methods from one event loop only.

    `counts`: groups scored `whole` and `incomplete`, and members that came too `late`. `later` sets
    timers.
    """

    def __init__(self, later: Later | None = None) -> None:
        self.counts = Counter(whole=0, incomplete=0, late=0)
        self._later = later
        self._open: dict[Key, Gathering] = {}
        self._closed: dict[Key, Gathering] = {}

    @property
    def waiting(self) -> int:
        """Return how many members wait for their groups."""
        return sum(len(group.members) for group in self._open.values())

    async def join(
        self,
        key: Key,
        config: GroupConfig,
        members: Mapping[Identity, Candidate],
        how: How,
        judge: JudgeGroups,
    ) -> dict[Identity, Joined]:
        """Return the outcome for each of these members of one group, once it is scored.

        Raises:
            RequestError: the group cannot be scored now.
        """
        found: dict[Identity, Joined] = {}
        joined: dict[Identity, Gathering] = {}
        for identity, candidate in members.items():
            closed = self._closed.get(key)
            if closed is not None and identity in closed.members:
                joined[identity] = closed
            elif closed is not None and closed.missing:
                closed.missing -= 1
                self.counts["late"] += 1
                found[identity] = Joined(_same_for_all(candidate, LATE), "")
            else:
                joined[identity] = self._enter(key, config, identity, candidate, how, judge)
        try:
            await self._wait(set(joined.values()), how.give_up_at_s)
        finally:
            for identity, group in joined.items():
                self._leave(group, identity)
        for identity, group in joined.items():
            none: Mapping[Identity, Scores] = {}
            scores = group.scored.result() if group.scored.done() else none
            known = scores.get(identity)
            name = f"{group.name}/{len(group.members)}" if known else ""
            found[identity] = Joined(known or {"": GAVE_UP}, name)
        return found

    def stop(self) -> None:
        """Drop all groups; their waiting members get no scores."""
        for group in [*self._open.values(), *self._closed.values()]:
            if group.timer is not None:
                group.timer.cancel()
            if group.task is not None:
                group.task.cancel()
            if not group.scored.done():
                group.scored.set_result({})
        self._open.clear()
        self._closed.clear()

    def readings(self) -> list[MetricReading]:
        """Return the metrics of the gathered groups."""
        groups = "Groups gathered over several requests: scored whole, incomplete; late members"
        waiting = "Samples that wait for the rest of their group"
        return [
            MetricReading(
                CounterMetricFamily, "reward_groups", groups, "outcome", lambda: self.counts
            ),
            MetricReading(
                GaugeMetricFamily,
                "reward_group_waiting",
                waiting,
                "unit",
                lambda: {"samples": float(self.waiting)},
            ),
        ]

    def _enter(
        self,
        key: Key,
        config: GroupConfig,
        identity: Identity,
        candidate: Candidate,
        how: How,
        judge: JudgeGroups,
    ) -> Gathering:
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = Gathering(key, config, config.size or 0, judge)
            group.timer = self._set(config.deadline_s, group, self._run_out)
        group.members.setdefault(identity, candidate)
        group.waiting[identity] += 1
        group.hows.append(how)
        if len(group.members) >= group.size:
            self._close(group)
        return group

    def _leave(self, group: Gathering, identity: Identity) -> None:
        """Remove a member that no caller waits for any more from an open group."""
        if self._open.get(group.key) is not group:
            return
        group.waiting[identity] -= 1
        if group.waiting[identity] <= 0:
            group.members.pop(identity, None)
        if not group.members:
            del self._open[group.key]
            if group.timer is not None:
                group.timer.cancel()

    def _run_out(self, group: Gathering) -> None:
        if self._open.get(group.key) is group:
            self._close(group)

    def _close(self, group: Gathering) -> None:
        """Score the members that came, or give them an error. Keep the group for late members."""
        del self._open[group.key]
        if group.timer is not None:
            group.timer.cancel()
        group.missing = group.size - len(group.members)
        self.counts["incomplete" if group.missing else "whole"] += 1
        before = self._closed.get(group.key)
        if before is not None and before.timer is not None:
            before.timer.cancel()
        self._closed[group.key] = group
        group.timer = self._set(group.config.deadline_s, group, self._forget)
        if group.missing and group.config.incomplete == "no_score":
            lost = _lost(group)
            group.scored.set_result(
                {name: _same_for_all(one, lost) for name, one in group.members.items()}
            )
        else:
            group.task = asyncio.get_running_loop().create_task(_score(group))

    def _forget(self, group: Gathering) -> None:
        if self._closed.get(group.key) is group:
            del self._closed[group.key]

    def _set(self, delay_s: float, group: Gathering, then: Callable[[Gathering], None]) -> Timer:
        later = self._later or asyncio.get_running_loop().call_later
        return later(delay_s, lambda: then(group))

    async def _wait(self, groups: set[Gathering], give_up_at_s: float | None) -> None:
        """Wait until all these groups are scored, or until the deadline."""
        futures = [group.scored for group in groups]
        if futures:
            now_s = asyncio.get_running_loop().time()
            left_s = None if give_up_at_s is None else max(0.0, give_up_at_s - now_s)
            await asyncio.wait(futures, timeout=left_s)


async def _score(group: Gathering) -> None:
    try:
        scores = await group.judge(group.members, group.how())
    except Exception as error:  # noqa: BLE001 (the group's boundary: all its waiters get the error)
        if not group.scored.done():
            group.scored.set_exception(error)
        return
    if not group.scored.done():
        group.scored.set_result(scores)


def _lost(group: Gathering) -> Score:
    name = f"{group.key.group_id!r:.{SHOWN_CHARACTERS}}"
    why = (
        f"{len(group.members)} of {group.size} members of group {name} came within "
        f"{group.config.deadline_s:g} s, and the profile scores complete groups only"
    )
    return Score(error=sample_error("deadline_exceeded", why))


def _same_for_all(candidate: Candidate, score: Score) -> Scores:
    """Return the score for every scorer, under the key ""; the caller knows the real keys."""
    return {"": candidate.refused or score}
