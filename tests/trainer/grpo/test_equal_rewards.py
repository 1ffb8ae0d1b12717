"""The warning of equal rewards comes at the third such rollout in a row, with likely causes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import GrpoFlags
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.grpo.equal_rewards import EqualRewardsWatch

NAN = float("nan")
DIFFER, RIGHT, WRONG = [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]
LOGGER = "touchstone_rewards.trainer.grpo.equal_rewards"


def warnings_of(
    rollouts: list[list[list[float]]], caplog: pytest.LogCaptureFixture, cut: float = 0.0
) -> list[str]:
    """Return the warnings for rollouts with groups of two; the first rollout is for update 1."""
    watch = EqualRewardsWatch()
    with caplog.at_level(logging.WARNING, LOGGER):
        for step, groups in enumerate(rollouts, 1):
            watch.saw(torch.tensor(groups).flatten(), 2, step, cut)
    return [record.getMessage() for record in caplog.records]


def test_the_third_rollout_of_equal_groups_is_warned_of_at_once_and_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    [said] = warnings_of([[WRONG] * 4] * 9, caplog, cut=0.8)
    assert said.startswith("update 3: in 3 rollouts in a row")
    assert "100% in this one" in said
    assert "nearly no response is right" in said
    assert "80% of the responses are cut off: raise max_completion_length" in said


def test_a_policy_that_collapses_after_learning_is_told_from_one_that_never_learnt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    learnt = [[DIFFER, WRONG, RIGHT, DIFFER]] * 4
    [said] = warnings_of([*learnt, *[[WRONG, RIGHT, WRONG, WRONG]] * 5], caplog)
    assert said.startswith("update 7:")
    assert "the policy has collapsed" in said
    assert "nearly no response is right" not in said


def test_rows_that_became_too_easy_are_no_collapse(caplog: pytest.LogCaptureFixture) -> None:
    [said] = warnings_of([[DIFFER] * 4, *[[RIGHT] * 4] * 3], caplog)
    assert "too easy" in said
    assert "collapsed" not in said


def test_two_such_rollouts_or_one_group_in_eight_that_differs_are_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not warnings_of([[WRONG] * 4] * 2, caplog)
    assert not warnings_of([[WRONG] * 7 + [DIFFER]] * 30, caplog)
    assert not warnings_of([[WRONG] * 4, [WRONG] * 4, [DIFFER] * 4] * 5, caplog)


def test_a_rollout_without_rewards_neither_counts_nor_interrupts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nothing = [[NAN, NAN]] * 4
    assert not warnings_of([nothing] * 9, caplog)
    half = [WRONG, WRONG, [NAN, NAN], [NAN, NAN]]
    [said] = warnings_of([half, nothing, half, half], caplog)
    assert said.startswith("update 4:")


@pytest.mark.long
def test_a_run_that_logs_every_tenth_update_is_warned_at_the_third(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Responses of one token never hold a right answer: every reward is 0."""
    fields = {"reward_profile": "r1_zero", "max_completion_length": 1, "logging_steps": 10}
    with caplog.at_level(logging.WARNING, LOGGER):
        assert main(["grpo", *grpo_flags(server.url, max_steps=3, **fields)]) == 0
    [said] = [each.getMessage() for each in caplog.records if each.name == LOGGER]
    assert said.startswith("update 3: in 3 rollouts in a row")
