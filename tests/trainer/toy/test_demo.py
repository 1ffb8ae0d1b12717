"""The demo's parts in a few steps; `make demo` shows that it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.toy.demo import check_gain


def summary(accuracy: float, low: float, high: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "accuracy_interval": (low, high)}


@pytest.mark.long
def test_the_demo_runs_to_its_end_and_fails_when_nothing_was_learnt(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--sft_steps=2", "--grpo_steps=1", "--test_problems=12", f"--output={tmp_path / 'd'}"]
    assert main(["quick_demo", *flags]) == 1
    assert "did not double" in capfd.readouterr().err
    folder = tmp_path / "d"
    assert "before and after" in (folder / "report.html").read_text()
    assert (folder / "curves.png").is_file()
    assert len(list(read_samples(folder / "grpo" / "samples"))) == 128
    for name in ("before", "after"):
        found = json.loads((folder / name / "summary.json").read_text())
        assert (found["num_examples"], found["num_failed"]) == (12, 0)


def test_a_gain_that_chance_could_explain_is_no_gain() -> None:
    check_gain(summary(0.1, 0.08, 0.13), summary(0.3, 0.26, 0.34))
    with pytest.raises(RunFailed):
        check_gain(summary(0.1, 0.05, 0.3), summary(0.3, 0.26, 0.34))
    with pytest.raises(RunFailed):
        check_gain(summary(0.2, 0.18, 0.22), summary(0.3, 0.26, 0.34))


def test_the_demo_deletes_no_folder_that_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write_rows(tmp_path / "mine.jsonl", [{"x": 1}])
    assert main(["quick_demo", f"--output={tmp_path}"]) == 2
    assert "not a demo" in capsys.readouterr().err
    assert mine.is_file()
