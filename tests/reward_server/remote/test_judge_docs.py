"""docs/judge.md says what is so: its keys are the judge's keys, its profile loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.remote.judge import Judge, JudgeConfig

PAGE = (ROOT / "docs" / "judge.md").read_text()


def test_every_key_is_told_with_its_default() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ?([^|]*?) ?\|", PAGE, re.MULTILINE)
    told = {key: default for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
    assert set(told) == set(JudgeConfig.model_fields)
    assert told["prompt"] == f"`{JudgeConfig.model_fields['prompt'].default}`"
    for name in ("votes", "max_tokens", "max_chars", "timeout_s", "max_in_flight"):
        assert float(told[name]) == JudgeConfig.model_fields[name].default


def test_the_profiles_shown_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block, priced] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "judged.yaml").write_text(block)
    scorer = load_profiles([tmp_path])["judged"].scorers["judge"]
    assert isinstance(scorer, Judge)
    assert (scorer.form, scorer.config.guided) == ("yes_no", True)
    monkeypatch.setenv("JUDGE_KEY", "k")
    assert Judge(**yaml.safe_load(priced)["config"]).config.cost_per_hour == 5
