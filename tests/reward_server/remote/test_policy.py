"""Which endpoint is called, when it is left alone, and how often requests may be sent."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.remote.policy import (
    Breaker,
    Failure,
    RateLimit,
    ServerHealth,
    next_server,
)

NEVER = float("inf")


def test_the_least_loaded_server_that_does_not_rest_is_next() -> None:
    busy, idle, resting = ServerHealth("busy"), ServerHealth("idle"), ServerHealth("resting")
    busy.in_flight, idle.in_flight = 3, 1
    resting.failed(Failure("503"), now_s=10.0, rest_s=5.0)
    assert next_server([busy, resting, idle], 11.0) is idle
    assert next_server([busy, resting, idle], 15.0) is resting


def test_equals_take_turns() -> None:
    servers = [ServerHealth("a"), ServerHealth("b"), ServerHealth("c")]
    assert [next_server(servers, 0.0).url for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_a_server_is_left_alone_after_so_many_failures_in_a_row_and_longer_each_time() -> None:
    breaker = Breaker(failures=3, rest_s=1.0, max_rest_s=5.0)
    assert [breaker.rests_s(count) for count in range(7)] == [0, 0, 0, 1.0, 2.0, 4.0, 5.0]
    server = ServerHealth("a")
    for _ in range(3):
        server.failed(Failure("503"), now_s=1.0, rest_s=0.0)
    assert breaker.is_open(server.failures_in_a_row)
    server.succeeded(sent_at_s=0.5)
    assert breaker.is_open(server.failures_in_a_row), "an answer from before proves nothing"
    server.succeeded(sent_at_s=2.0)
    assert not breaker.is_open(server.failures_in_a_row)


def test_a_rate_limit_lets_a_seconds_worth_pass_and_spaces_the_others() -> None:
    limit = RateLimit(4.0)
    assert [limit.take(100.0, NEVER) for _ in range(6)] == [0, 0, 0, 0, 0.25, 0.5]
    assert limit.take(100.0, 100.7) is None, "its turn would come too late"
    assert limit.take(100.0, 100.8) == 0.75, "and was not taken"
    assert limit.take(200.0, NEVER) == 0


def test_a_slow_rate_has_one_turn_at_a_time() -> None:
    limit = RateLimit(0.5)
    assert [limit.take(10.0, NEVER) for _ in range(3)] == [0, 2.0, 4.0]
    with pytest.raises(ValueError):
        RateLimit(0.0)
