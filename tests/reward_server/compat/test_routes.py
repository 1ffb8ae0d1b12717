"""Results in foreign formats: a busy server never becomes a number."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.compat.llamafactory import LLAMAFACTORY
from touchstone_rewards.reward_server.compat.routes import CompatEndpoint
from touchstone_rewards.reward_server.errors import NoReward, NoRewardNow, sample_error
from touchstone_rewards.reward_server.schemas import SampleResult


def endpoint(null_reward: float | None) -> CompatEndpoint:
    found = object.__new__(CompatEndpoint)
    found.format, found.null_reward = LLAMAFACTORY, null_reward
    return found


def failed(code: str, *, retryable: bool) -> SampleResult:
    error = sample_error("bad_ground_truth", code)
    error = type(error)(error.code, error.message, retryable)
    return SampleResult("0", "error", None, {"math": None}, error)


GOOD = SampleResult("1", "ok", 1.0, {"math": 1.0})


def test_what_is_retryable_is_never_a_constant() -> None:
    busy, unreadable = failed("busy", retryable=True), failed("unreadable", retryable=False)
    with pytest.raises(NoRewardNow, match="the same sample may succeed") as now:
        endpoint(-1.0)._verdicts("math", ["math"], [GOOD, busy])
    assert (now.value.status, now.value.retry_after_s) == (503, 1.0)
    [good, constant] = endpoint(-1.0)._verdicts("math", ["math"], [GOOD, unreadable])
    assert (good.reward, constant.reward, constant.scores) == (1.0, -1.0, {"math": -1.0})
    with pytest.raises(NoReward, match="compat_null_rewards"):
        endpoint(None)._verdicts("math", ["math"], [unreadable])
