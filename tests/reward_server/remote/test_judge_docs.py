"""docs/judge.md is true: its keys are those of the judge, and its profile loads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.audit.attacks import ATTACKS
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


RESULTS = ROOT / "benchmarks" / "results"
FAMILIES = ("symbol", "opener", "wrong", "instruction", "verdict", "fence", "long", "unicode")


def shown(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def test_the_shares_of_attacks_are_those_that_were_measured() -> None:
    results: dict[str, Any] = json.loads((RESULTS / "judge_attacks.json").read_text())
    rows: list[dict[str, Any]] = results["rows"]
    assert len(rows) == 5
    assert len(results["problems"]) == 12
    for row in rows:
        assert tuple(row["families"]) == FAMILIES
        low, high = (f"{100 * each:.0f}" for each in row["interval"])
        cells = [row["what"], f"{shown(row['accepted'])} [{low}, {high}]"]
        cells += [shown(row["families"][family]) for family in FAMILIES]
        cells += [shown(row["controls"]["ground truth"]), f"{row['null']} of {row['tried']}"]
        assert f"| {' | '.join(cells)} |" in PAGE
    assert results["engine"].replace("==", " ") in PAGE
    assert f"tries {len(ATTACKS)} attacks" in PAGE


def test_what_the_gateway_adds_is_what_was_measured() -> None:
    rows: list[dict[str, Any]] = json.loads((RESULTS / "gateway.json").read_text())["rows"]
    assert len(rows) == 11
    for row in rows:
        cells = f"| {row['what']} | {row['ours']} | {row['peer_name']} {row['peer']} |"
        assert cells in PAGE
