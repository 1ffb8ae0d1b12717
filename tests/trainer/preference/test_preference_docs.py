"""The commands of the documentation pages run, and give the documented output."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.preference import dpo, reward_model

CONFIGS = ROOT / "trainer" / "configs"


def test_the_table_of_memory_and_time_is_what_its_lines_compute() -> None:
    page = (ROOT / "docs" / "sft.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 7
    assert f"|---|\n{done.stdout}\n```python" in page


@pytest.mark.parametrize(
    ("name", "options"),
    [("rm", reward_model.RmConfigs), ("dpo", dpo.DpoConfigs)],
    ids=["rm", "dpo"],
)
def test_the_example_configs_of_preference_training_are_understood(
    name: str,
    options: type[reward_model.RmConfigs] | type[dpo.DpoConfigs],
    tmp_path: Path,
) -> None:
    words = ["--config", str(CONFIGS / f"{name}.yaml"), "--bf16=false", f"--output_dir={tmp_path}"]
    *_, args, model = parse_config(options, words, f"trainer {name}")
    assert args.report_to == ["tensorboard"]
    assert model.use_peft
