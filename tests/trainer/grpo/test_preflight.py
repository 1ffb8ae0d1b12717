"""Before training: a reward that cannot tell right from wrong is refused; one that can passes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.trainer.conftest import GrpoFlags, write_rows
from touchstone_rewards.clients.preflight import answer_of
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.grpo.equal_rewards import WarnOfEqualRewards
from touchstone_rewards.trainer.grpo.preflight import PreflightArguments, check_rewards
from touchstone_rewards.trainer.rewards import RewardArguments, connect

ROWS = [{"id": str(n), "prompt": f"{n} + {n} =", "ground_truth": str(2 * n)} for n in range(3)]


def check(url: str, profile: str, rows: list[dict[str, Any]], **fields: Any) -> str:
    rewards = RewardArguments([url], profile, reward_timeout_s=20)
    with connect([url], 20) as scoring:
        arguments = PreflightArguments(**fields)
        return check_rewards(Dataset.from_list(rows), scoring, rewards, arguments)


@pytest.mark.parametrize("profile", ["math", "math_strict", "r1_zero"])
def test_right_and_wrong_answers_differ_under_every_profile_that_verifies(
    server: LiveServer, profile: str
) -> None:
    found = check(server.url, profile, ROWS)
    assert "tells right from wrong in 3 of 3 rows" in found
    assert "(mean reward 1 and 0)" in found


def test_a_profile_of_form_alone_passes_and_is_named_as_one(server: LiveServer) -> None:
    assert "looks at the form alone" in check(server.url, "format", ROWS)


def test_a_template_that_prefills_the_tag_is_found(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "aware.yaml").write_text("scorers: {format: {config: {prefilled: think}}}\n")
    (tmp_path / "tags.yaml").write_text("scorers: {format: {}}\n")
    server = start_server("--profiles_dir", str(tmp_path))

    def found(profile: str) -> str:
        rewards = RewardArguments([server.url], profile, reward_timeout_s=20)
        with connect([server.url], 20) as scoring:
            arguments = PreflightArguments()
            rows = Dataset.from_list(ROWS)
            return check_rewards(rows, scoring, rewards, arguments, lambda p: f"{p}<think>\n")

    with pytest.raises(RunFailed, match=r"prompts end with <think>.*Say `prefilled: think`"):
        found("tags")
    assert "looks at the form alone" in found("aware")
    assert "tells right from wrong" in found("math")


def test_a_gsm8k_solution_is_its_number(server: LiveServer) -> None:
    assert answer_of("He has 3 + 4 = 7.\n#### 7") == "7"
    rows = [{**ROWS[0], "ground_truth": "He has 3 + 4 = 7.\n#### 7"}]
    assert "1 of 1 rows" in check(server.url, "math", rows)


def test_rows_without_ground_truths_cannot_be_tried(server: LiveServer) -> None:
    rows = [{**row, "ground_truth": None} for row in ROWS]
    assert "no row has a ground_truth" in check(server.url, "math", rows)
    assert "skipped" in check(server.url, "math", ROWS, preflight=False)


def test_unreadable_ground_truths_end_the_command_with_what_the_server_said(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "bad.jsonl", [{**row, "ground_truth": ""} for row in ROWS])
    flags = grpo_flags(server.url, dataset_name=data, reward_profile="math")
    assert main(["grpo", *flags]) == 1
    error = capsys.readouterr().err
    assert "no answer got a reward from math" in error
    assert "bad_ground_truth" in error
    assert main(["grpo", *flags, "--preflight=false", "--max_failed_frac=1"]) == 0


def test_a_reward_that_is_the_same_for_all_is_refused_with_explanations() -> None:
    class Flat:
        """Scores like a client; the profile has been emptied."""

        def score(self, samples: list[Any], profile: str, **options: Any) -> list[Any]:
            assert options["explain"]
            return [Result() for _ in samples]

    class Result:
        reward, error, explanation, scores = 0.0, None, {"rule": "always 0"}, {}

    rewards = RewardArguments(None, "flat")
    with pytest.raises(RunFailed, match="same reward") as refusal:
        check_rewards(Dataset.from_list(ROWS), Flat(), rewards, PreflightArguments())
    assert str(refusal.value).count("always 0") == 8


def watched(shares: list[float], tmp_path: Path, **more: float) -> WarnOfEqualRewards:
    watch, state = WarnOfEqualRewards(), TrainerState()
    args = TrainingArguments(str(tmp_path), logging_steps=1, use_cpu=True)
    for step, share in enumerate(shares, 1):
        state.global_step = step
        watch.on_log(args, state, TrainerControl(), {"frac_reward_zero_std": share, **more})
    return watch


def test_equal_rewards_in_nearly_all_groups_are_warned_of_once_with_causes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "touchstone_rewards.trainer.grpo.equal_rewards"):
        watched([0.95] * 30, tmp_path, **{"reward": 0.01, "completions/clipped_ratio": 0.8})
    [record] = caplog.records
    assert "95% of the groups" in record.message
    assert "raise max_completion_length" in record.message
    assert "nearly none is right" in record.message


def test_one_update_is_not_called_ten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`logging_first_step` logs after the first update, `logging_steps` after every fifth."""
    watch, state = WarnOfEqualRewards(), TrainerState()
    args = TrainingArguments(str(tmp_path), logging_steps=5, logging_first_step=True, use_cpu=True)
    with caplog.at_level(logging.WARNING, "touchstone_rewards.trainer.grpo.equal_rewards"):
        for step in (1, 5, 10):
            assert not watch.warned
            state.global_step = step
            watch.on_log(args, state, TrainerControl(), {"frac_reward_zero_std": 1.0})
    assert "over the last 10 updates 100% of the groups" in caplog.text


def test_nine_such_updates_or_a_lower_share_are_no_reason_to_warn(tmp_path: Path) -> None:
    assert not watched([1.0] * 9, tmp_path).warned
    assert not watched([0.875] * 30, tmp_path).warned
    assert watched([0.2] * 10 + [1.0] * 10, tmp_path).warned
