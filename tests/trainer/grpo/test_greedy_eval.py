"""The evaluation inside a run is greedy, equals `trainer eval`, and does not affect training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import GrpoFlags
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples


def history(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "trainer_state.json").read_text())["log_history"]


def held_out(run: Path) -> list[float]:
    key = "eval_held_out/avg_reward"
    return [entry[key] for entry in history(run) if key in entry]


@pytest.fixture
def measured(grpo_flags: GrpoFlags, rows_file: Path) -> list[str]:
    """Flags that measure on all six rows in two batches, before the first update and after each."""
    flags = ["--eval_strategy=steps", "--eval_steps=1", "--eval_on_start=true"]
    return [*flags, f"--eval_dataset_name={rows_file}", "--per_device_eval_batch_size=3"]


def test_the_last_point_of_the_curve_is_what_trainer_eval_says_of_the_saved_model(
    server: LiveServer, grpo_flags: GrpoFlags, measured: list[str], rows_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main(["grpo", *grpo_flags(server.url, learning_rate=1e-2), *measured]) == 0
    flags = [f"--model={run}", f"--dataset={rows_file}", f"--output={tmp_path / 'eval'}"]
    flags += ["--reward_url", server.url, "--profile=dummy", "--max_new_tokens=6"]
    assert main(["eval", *flags]) == 0
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    points = held_out(run)
    assert len(points) == 4
    assert points[-1] == pytest.approx(summary["avg_reward"], abs=1e-5)
    assert points[0] != points[-1]
    assert "held-out accuracy, first to last" in (run / "report.html").read_text()


def test_the_same_weights_give_the_same_point_though_training_samples(
    server: LiveServer, grpo_flags: GrpoFlags, measured: list[str], tmp_path: Path
) -> None:
    assert main(["grpo", *grpo_flags(server.url, learning_rate=0), *measured]) == 0
    points = held_out(tmp_path / "run")
    assert points == [points[0]] * 4
    rewards = [entry["reward"] for entry in history(tmp_path / "run") if "reward" in entry]
    assert len(set(rewards)) > 1


def test_a_run_that_is_measured_samples_what_one_that_is_not_samples(
    server: LiveServer, grpo_flags: GrpoFlags, measured: list[str], tmp_path: Path
) -> None:
    responses = []
    for name, more in (("plain", []), ("measured", measured)):
        run = tmp_path / name
        assert main(["grpo", *grpo_flags(server.url, output_dir=run), *more]) == 0
        responses.append([each.response for each in read_samples(run / "samples")])
    assert len(responses[0]) == 24
    assert responses[0] == responses[1]


def test_several_responses_a_prompt_are_sampled_as_trl_does(
    server: LiveServer, grpo_flags: GrpoFlags, measured: list[str], tmp_path: Path
) -> None:
    flags = grpo_flags(server.url, learning_rate=0, num_generations_eval=3)
    assert main(["grpo", *flags, *measured]) == 0
    assert len(set(held_out(tmp_path / "run"))) > 1
