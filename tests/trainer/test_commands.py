"""Mistyped or missing arguments, or no server, give one line and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import GrpoFlags
from touchstone_rewards.reward_server.live_server import LiveServer, free_port
from touchstone_rewards.trainer.__main__ import COMMANDS, main, usage

CONFIGS = Path(__file__).parents[2] / "trainer" / "configs"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    written = capsys.readouterr().err.splitlines()
    captured = [each for each in written if each and "examples" not in each]  # less the bars
    assert len(captured) == 1, captured
    return captured[0]


def write_config(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_help_lists_every_command() -> None:
    assert all(f"  {name}" in usage() for name in COMMANDS)


def test_the_command_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "touchstone_rewards.trainer", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == usage()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "no command 'fly'"),
        (["sft", "--config", "no.yaml"], "no.yaml"),
        (["sft", "--config"], "needs the path"),
        (["sft", "--lerning_rate", "1"], "did you mean 'learning_rate'?"),
        (["sft", "--learning", "1"], "unknown argument '--learning'"),
        (["sft", "--learning_rate", "fast"], "learning_rate"),
        (["sft", "--bf16=false", "--output_dir=x"], "--model_name_or_path is missing"),
        (
            ["sft", "--bf16=false", "--output_dir=x", "--model_name_or_path=./no"],
            "no model folder at ./no",
        ),
        (["grpo", "--max_failed_frac=2"], "must be between 0 and 1"),
        (
            ["grpo", "--bf16=false", "--num_generations=3", "--output_dir=x"],
            "divisible by num_generations",
        ),
        (["eval", "--model=./no"], "no model folder at ./no"),
        (["eval", "--max_new_tokens=many"], "max_new_tokens"),
    ],
)
def test_bad_input_is_named_in_one_line_and_exits_with_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate: 1e-4", "unknown key 'lerning_rate'; did you mean 'learning_rate'?"),
        ("learning_rate: fast", "learning_rate"),
        ("save_strategy: sometimes", "save_strategy"),
        ("- learning_rate", "must hold a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_bad_config_file_is_named_in_one_line_and_exits_with_2(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sft", "--config", write_config(tmp_path, text)]) == 2
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset_name": "./no.jsonl"}, "no dataset at ./no.jsonl"),
        ({"ground_truth_column": "gold", "reward_profile": "math"}, "no column 'gold'"),
        ({"reward_url": "localhost:1"}, "reward_url: "),
        ({"reward_profile": "nosuch"}, "no profile 'nosuch' on the server; it has "),
        ({"resume_from_checkpoint": "./checkpoint-7"}, "no checkpoint at ./checkpoint-7"),
    ],
)
def test_grpo_refuses_what_cannot_work_before_it_loads_a_model(
    server: LiveServer,
    grpo_flags: GrpoFlags,
    fields: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["grpo", *grpo_flags(server.url, **fields)]) == 2
    assert message in one_line(capsys)


def test_without_a_server_the_run_fails_in_one_line_that_names_it(
    grpo_flags: GrpoFlags, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchstone_rewards.trainer.rewards.STARTUP_WAIT_S", 0.5)
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["grpo", *grpo_flags(url)]) == 1
    said = one_line(capsys)
    assert f"no reward server at {url}" in said
    assert "raise timeout_s" not in said  # no flag of this command
    assert said.endswith("Start one (reward-server serve), or give its URL with --reward_url")


@pytest.mark.parametrize("name", ["sft", "grpo", "grpo_story", "demo_sft", "demo_grpo"])
def test_the_example_configs_are_understood(name: str, tmp_path: Path) -> None:
    from touchstone_rewards.trainer import sft
    from touchstone_rewards.trainer.config import parse_config
    from touchstone_rewards.trainer.grpo import command as grpo

    options = grpo.OPTIONS if "grpo" in name else sft.OPTIONS
    on_cpu = ["--bf16=false", f"--output_dir={tmp_path}"]
    words = ["--config", str(CONFIGS / f"{name}.yaml"), *on_cpu]
    configs = parse_config(options, words, "trainer")
    assert configs
