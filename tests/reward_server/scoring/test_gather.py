"""A group that comes in pieces, with members lost and sent twice, gets the scores of the whole
group in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from touchstone_rewards.reward_server.errors import NotReady
from touchstone_rewards.reward_server.gathering import GroupConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.gather import (
    Candidate,
    Gatherer,
    How,
    Identity,
    Joined,
    Key,
)

KEY = Key("", "p", "f", "g")
HOW = How(explain=False, give_up_at_s=None, priority="train")


class Clock:
    """Timers that end when the test says so."""

    def __init__(self) -> None:
        self.set: list[list[Any]] = []

    def later(self, delay_s: float, then: Callable[[], None]) -> Clock.Timer:
        entry = [delay_s, then, True]
        self.set.append(entry)
        return Clock.Timer(entry)

    class Timer:
        def __init__(self, entry: list[Any]) -> None:
            self.entry = entry

        def cancel(self) -> None:
            self.entry[2] = False

    def run_out(self) -> None:
        due, self.set = self.set, []
        for _, then, wanted in due:
            if wanted:
                then()


class Group:
    """A gatherer, and a judge whose scores depend on all members; `judged`: the groups that it
    judged.
    """

    def __init__(self, size: int, **config: Any) -> None:
        self.clock = Clock()
        self.gatherer = Gatherer(self.clock.later)
        self.config = GroupConfig(size=size, deadline_s=9.0, **config)
        self.judged: list[list[Identity]] = []

    async def judge(
        self, members: Mapping[Identity, Candidate], how: How
    ) -> dict[Identity, Mapping[str, Score]]:
        self.judged.append(sorted(members))
        await asyncio.sleep(0)
        return {name: {"rank": Score(value)} for name, value in whole(list(members)).items()}

    def send(
        self, *members: int, how: How = HOW, text: str = "x"
    ) -> asyncio.Task[dict[Identity, Joined]]:
        """Send one request with these members of the group."""
        came = {identity(at, text): Candidate(Sample(str(at), text), {}) for at in members}
        return asyncio.create_task(self.gatherer.join(KEY, self.config, came, how, self.judge))


def identity(at: int, text: str = "x") -> Identity:
    return str(at), text.encode()


def whole(members: list[Identity]) -> dict[Identity, float]:
    """Return the scores of the whole group at once: place in order, and group size."""
    order = sorted(members)
    return {name: order.index(name) + len(order) / 100 for name in order}


def values(found: Mapping[Identity, Joined]) -> dict[Identity, float | None]:
    return {name: joined.scores["rank"].value for name, joined in found.items()}


def codes(found: Mapping[Identity, Joined]) -> set[str]:
    errors = [score.error for each in found.values() for score in each.scores.values()]
    return {error.code for error in errors if error is not None}


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@st.composite
def courses(draw: st.DrawFn) -> tuple[int, set[int], list[tuple[int, ...]]]:
    """Draw a group's size, the members whose caller is killed, and the order of events."""
    size = draw(st.integers(2, 7))
    killed = draw(st.sets(st.integers(0, size - 1), max_size=size - 1))
    members = draw(st.permutations(range(size)))
    steps: list[tuple[int, ...]] = []
    while members:
        count = draw(st.integers(1, len(members)))
        part, members = tuple(members[:count]), members[count:]
        alone = [(at,) for at in part] if killed & set(part) else [part]
        steps += alone
    for each in draw(st.lists(st.sampled_from(steps), max_size=4)):
        steps.insert(draw(st.integers(0, len(steps))), each)  # sent twice
    return size, killed, steps


@settings(max_examples=200, deadline=None)
@given(courses())
def test_any_course_of_things_comes_to_the_scores_of_the_whole_group(
    course: tuple[int, set[int], list[tuple[int, ...]]],
) -> None:
    size, killed, steps = course

    async def run() -> None:
        group = Group(size)
        tasks: list[tuple[tuple[int, ...], asyncio.Task[dict[Identity, Joined]]]] = []
        present: set[int] = set()
        for members in steps:
            task = group.send(*members)
            await asyncio.sleep(0)
            present |= set(members)
            if killed & set(members):
                task.cancel()
                await settle()
                # Once its group was complete it stays in it, although no one receives its score.
                present -= set(members) if len(present) < size else set()
            else:
                tasks.append((members, task))
        await settle()
        group.clock.run_out()
        found: dict[Identity, float | None] = {}
        for _, task in tasks:
            found |= values(await task)
        expected = whole([identity(at) for at in present])
        assert found == {name: expected[name] for name in found}
        assert {identity(at) for at in present - killed} == set(found)
        assert len(group.judged) == 1

    asyncio.run(run())


async def test_a_member_sent_twice_is_one_member_before_and_after() -> None:
    group = Group(3)
    first, again, second = group.send(0), group.send(0), group.send(1)
    await settle()
    assert group.judged == []
    assert group.gatherer.waiting == 2
    third = group.send(2)
    found = [await task for task in (first, again, second, third)]
    assert found[0] == found[1]
    assert values(await group.send(1)) == values(found[2])  # its answer was lost on the way
    assert len(group.judged) == 1
    assert {joined.group for each in found for joined in each.values()} == {
        f"{found[0][identity(0)].group.partition('/')[0]}/3"
    }


async def test_two_tries_of_one_id_are_two_members() -> None:
    group = Group(2)
    found = await asyncio.gather(group.send(0, text="a"), group.send(0, text="b"))
    assert len(group.judged[0]) == 2
    assert [len(each) for each in found] == [1, 1]


async def test_a_group_in_parts_has_no_scores_where_the_profile_says_so() -> None:
    group = Group(3, incomplete="no_score")
    tasks = [group.send(0), group.send(1)]
    await settle()
    group.clock.run_out()
    for task in tasks:
        found = await task
        [joined] = found.values()
        [score] = joined.scores.values()
        assert score.error is not None
        assert "2 of 3 members of group 'g' came within 9 s" in score.error.message
        assert not score.error.retryable
    assert group.judged == []
    assert group.gatherer.counts == {"whole": 0, "incomplete": 1, "late": 0}


async def test_a_latecomer_has_no_score_and_changes_none() -> None:
    group = Group(3)
    tasks = [group.send(0), group.send(1)]
    await settle()
    group.clock.run_out()
    assert values(await tasks[0]) == {identity(0): 0.02}
    assert codes(await group.send(2)) == {"deadline_exceeded"}
    assert values(await group.send(1)) == {identity(1): 1.02}  # a member, sent again
    assert group.gatherer.counts == {"whole": 0, "incomplete": 1, "late": 1}
    next_epoch = [group.send(at, text="y") for at in range(3)]
    assert [len(await task) for task in next_epoch] == [1, 1, 1]
    assert group.gatherer.counts["whole"] == 1


async def test_a_closed_group_is_forgotten_in_time() -> None:
    group = Group(2)
    await asyncio.gather(group.send(0), group.send(1))
    group.clock.run_out()
    again = group.send(0)
    await settle()
    assert group.gatherer.waiting == 1
    again.cancel()
    await settle()
    assert group.gatherer.waiting == 0


async def test_a_request_whose_deadline_passes_is_no_member_any_more() -> None:
    group = Group(2)
    past = How(explain=False, give_up_at_s=asyncio.get_running_loop().time(), priority="train")
    found = await group.send(0, how=past)
    [score] = found[identity(0)].scores.values()
    assert score.error is not None
    assert (score.error.code, score.error.retryable) == ("deadline_exceeded", True)
    assert found[identity(0)].group == ""
    both = await asyncio.gather(group.send(1), group.send(2))
    assert [values(each) for each in both] == [{identity(1): 0.02}, {identity(2): 1.02}]


async def test_what_keeps_a_group_from_being_scored_reaches_all_who_wait() -> None:
    group = Group(2)

    async def busy(*_: Any) -> Any:
        raise NotReady("a model was exchanged")

    group.judge = busy  # type: ignore[method-assign]
    found = await asyncio.gather(group.send(0), group.send(1), return_exceptions=True)
    assert [type(each) for each in found] == [NotReady, NotReady]


async def test_other_callers_groups_are_other_groups() -> None:
    group = Group(2)
    mine = group.send(0)
    other = Key("someone else", *KEY[1:])
    came = {identity(1): Candidate(Sample("1", "x"), {})}
    theirs = asyncio.create_task(group.gatherer.join(other, group.config, came, HOW, group.judge))
    await settle()
    assert group.judged == []
    for task in (mine, theirs):
        task.cancel()


@pytest.mark.parametrize("when", ["waiting", "judging"])
async def test_stopping_ends_all_that_waits(when: str) -> None:
    group = Group(2)
    tasks = [group.send(0)] + ([group.send(1)] if when == "judging" else [])
    await asyncio.sleep(0)
    group.gatherer.stop()
    for task in tasks:
        assert codes(await task) <= {"deadline_exceeded"}
