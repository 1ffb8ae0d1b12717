"""Requests to a full server wait for a place, but not forever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from touchstone_rewards.reward_server.http.passes import HOLD_S, ConnectionTurns, Crowd


@dataclass
class SteppedLoop:
    """An event loop whose clock moves only when the test says so."""

    now_s: float = 0.0
    calls: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = field(
        default_factory=list[Any]
    )

    def time(self) -> float:
        return self.now_s

    def call_soon(self, call: Callable[..., None], *arguments: Any) -> None:
        self.calls.append((self.now_s, call, arguments))

    def call_later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        self.calls.append((self.now_s + delay_s, call, arguments))

    def until(self, now_s: float) -> None:
        while due := [each for each in self.calls if each[0] <= now_s]:
            first = min(due, key=lambda each: each[0])
            self.calls.remove(first)
            self.now_s = max(self.now_s, first[0])
            first[1](*first[2])
        self.now_s = now_s


@dataclass
class Waiting:
    loop: SteppedLoop
    crowd: Crowd
    begun_at_s: float | None = None

    def begin(self) -> None:
        self.begun_at_s = self.loop.now_s


def come(turns: ConnectionTurns, connection: Waiting) -> None:
    """Send a request on this connection."""
    held = cast(Any, connection)
    if turns.taken(held):
        turns.wait(held)
    else:
        connection.begin()


def test_a_request_waits_while_the_server_is_full_and_begins_when_it_is_not() -> None:
    full = [True]
    loop, crowd = SteppedLoop(), Crowd(full=lambda: full[0])
    turns, connections = ConnectionTurns(), [Waiting(loop, crowd) for _ in range(40)]
    for connection in connections:
        come(turns, connection)
    loop.until(0.5 * HOLD_S)
    assert [each.begun_at_s for each in connections] == [None] * 40
    full[0] = False
    loop.until(0.6 * HOLD_S)
    assert all(each.begun_at_s is not None for each in connections)
    assert not turns.waiting
    late = Waiting(loop, crowd)
    come(turns, late)
    assert late.begun_at_s == loop.now_s


def test_a_request_that_finds_no_place_in_time_begins_and_is_refused() -> None:
    loop, crowd = SteppedLoop(), Crowd(full=lambda: True)
    turns, early, late = ConnectionTurns(), Waiting(loop, crowd), Waiting(loop, crowd)
    come(turns, early)
    loop.until(0.5 * HOLD_S)
    come(turns, late)
    loop.until(1.2 * HOLD_S)
    assert early.begun_at_s is not None
    assert HOLD_S <= early.begun_at_s < 1.1 * HOLD_S
    assert late.begun_at_s is None


def test_who_comes_later_does_not_go_before_those_who_wait() -> None:
    full = [True]
    loop, crowd = SteppedLoop(), Crowd(full=lambda: full[0])
    turns, first, second = ConnectionTurns(), Waiting(loop, crowd), Waiting(loop, crowd)
    come(turns, first)
    loop.until(0.0)
    full[0] = False
    come(turns, second)
    assert second.begun_at_s is None
    loop.until(0.1)
    assert first.begun_at_s is not None
    assert second.begun_at_s is not None
    assert first.begun_at_s <= second.begun_at_s
