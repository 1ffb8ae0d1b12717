"""Every error is one line and an exit code; --traceback shows its origin."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import GrpoFlags, write_rows
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.errors import InputError, RunFailed, told
from touchstone_rewards.trainer.running import run

CHATS = [{"prompt": [{"role": "user", "content": "1+1?"}], "ground_truth": "2"}] * 4


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line of the command's error output, which must not be a traceback."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (InputError("no dataset"), "no dataset", 2),
        (RunFailed("no server"), "no server", 1),
        (OSError("no model x\n  a page of advice"), "no model x (OSError; --traceback shows", 1),
        (RuntimeError(""), "no message (RuntimeError", 1),
        (ModuleNotFoundError("x", name="trl"), "trl is not installed: pip install", 2),
        (KeyError("prompt"), "a bug in touchstone, KeyError: 'prompt'", 1),
    ],
)
def test_an_error_of_any_kind_is_told_in_one_line(error: Exception, line: str, code: int) -> None:
    said, exit_code = told(error)
    assert said.startswith(line)
    assert "\n" not in said
    assert exit_code == code


def test_a_traceback_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", "--lerning_rate", "1"]) == 2
    assert "did you mean 'learning_rate'" in last_line(capsys)
    assert main(["sft", "--lerning_rate", "1", "--traceback"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "config.py" in error
    assert "did you mean 'learning_rate'" in error.splitlines()[-1]


@pytest.mark.parametrize("command", ["grpo", "ppo"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss_type": "dappo"}, "loss_type must be one of grpo, bnpo"),
        ({"use_liger_kernel": True}, "use_liger_kernel: true needs liger-kernel, which is not"),
        ({"report_to": "trackio"}, "report_to: trackio needs trackio, which is not installed"),
        ({"rows": 1}, "a rollout needs 2 different prompts (generation_batch_size 8 / num_"),
        ({"rows": 1, "max_steps": -1, "num_train_epochs": 1}, "but there are 1 rows: lower"),
        ({"chats": True}, "the prompts are chats, but the model has no chat template"),
        ({"output_dir": "file"}, "file is a file, but a run needs a folder"),
        ({"output_dir": "file/run"}, "file is a file, but a run needs a folder"),
        (
            {"model_name_or_path": "nosuch/model"},
            "no model 'nosuch/model': there is no such folder",
        ),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2_before_anything_is_written(
    server: LiveServer,
    grpo_flags: GrpoFlags,
    rows_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    fields: dict[str, Any],
    message: str,
) -> None:
    if {"use_liger_kernel", "report_to"} & set(fields) and find_spec(message.split()[3]):
        pytest.skip("the package is installed here")

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub\nand so on")

    fields, lines = dict(fields), rows_file.read_text().splitlines()
    if fields.get("model_name_or_path"):
        monkeypatch.setattr(run.AutoConfig, "from_pretrained", unreachable)
    if count := fields.pop("rows", None):
        fields["dataset_name"] = write_rows(tmp_path / "few.jsonl", [json.loads(lines[0])] * count)
    if fields.pop("chats", None):
        fields["dataset_name"] = write_rows(tmp_path / "chats.jsonl", CHATS)
    if "output_dir" in fields:
        (tmp_path / "file").write_text("mine")
        fields["output_dir"] = tmp_path / fields["output_dir"]
    assert main([command, *grpo_flags(server.url, **fields)]) == 2
    assert message in last_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_rows=0"], "max_rows must be 1 or more (leave it out for all), not 0"),
        (["--max_rows=-3"], "max_rows must be 1 or more (leave it out for all), not -3"),
        (["--max_new_tokens=0"], "max_new_tokens must be 1 or more, not 0"),
        (["--batch_size=-1"], "batch_size must be 1 or more, not -1"),
        (["--max_prompt_length=0"], "max_prompt_length must be 1 or more, not 0"),
        (["--output=x.json"], "output must be a folder: give a file such as x.json as output_file"),
        (["--output_file=x"], "output_file must be a .json file, not x"),
    ],
)
def test_an_evaluation_that_cannot_work_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--model=./m", "--dataset=./d", "--output=./o", *words]) == 2
    assert message in last_line(capsys)


def test_a_system_prompt_for_a_model_without_a_template_says_what_to_give(
    server: LiveServer,
    tiny_model: Path,
    rows_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [f"--model={tiny_model}", f"--dataset={rows_file}", f"--reward_url={server.url}"]
    words += [f"--output={tmp_path / 'out'}", "--system_prompt=Be brief."]
    assert main(["eval", *words, "--question_column=prompt"]) == 2
    assert "give one with --chat_template (chatml, or" in last_line(capsys)


def test_a_causal_model_is_no_reward_model_to_convert(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", f"--model={tiny_model}", f"--output={tmp_path / 'out'}"]) == 2
    assert "is a Qwen2ForCausalLM, not a reward model: `trainer rm`" in last_line(capsys)
    assert not (tmp_path / "out").exists()
