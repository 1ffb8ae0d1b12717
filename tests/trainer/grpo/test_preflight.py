"""Before training: a reward that cannot tell right from wrong is refused; one that can passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.trainer.conftest import GrpoFlags, write_rows
from touchstone_rewards.clients.preflight import answer_of
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.grpo.preflight import PreflightArguments, check_rewards
from touchstone_rewards.trainer.rewards import (
    RewardArguments,
    ServedProfile,
    connect,
    language_lines,
)

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
    assert "judges the form only" in check(server.url, "format", ROWS)


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

    with pytest.raises(RunFailed, match=r"prompts end with <think>.*Set `prefilled: think`"):
        found("tags")
    assert "judges the form only" in found("aware")
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
        """Score like a client of an empty profile."""

        def score(self, samples: list[Any], profile: str, **options: Any) -> list[Any]:
            assert options["explain"]
            return [Result() for _ in samples]

    class Result:
        reward, error, explanation, scores = 0.0, None, {"rule": "always 0"}, {}

    rewards = RewardArguments(None, "flat")
    with pytest.raises(RunFailed, match="same reward") as refusal:
        check_rewards(Dataset.from_list(ROWS), Flat(), rewards, PreflightArguments())
    assert str(refusal.value).count("always 0") == 8


def test_the_languages_that_a_profile_reads_are_told_before_training() -> None:
    infos = {
        "math": ServedProfile("1", [], []),
        "story": ServedProfile("2", [], [], ["English", "Chinese"]),
    }
    [line] = language_lines(infos)
    assert line.startswith("profile story reads English, Chinese;")
