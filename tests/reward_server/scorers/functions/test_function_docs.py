"""docs/functions.md is true: its function scores, and its profiles load."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tests.checkout import ROOT, run_command
from touchstone_rewards.reward_server.profiles import ProfileConfig
from touchstone_rewards.reward_server.scorers.functions.foreign import FOREIGN, TRUTH_COLUMNS

DOCS = (ROOT / "docs" / "functions.md").read_text(encoding="utf-8")


def test_the_function_shown_scores_as_the_page_says(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    profile, *_ = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    for folder, name, text in (("own", "my_rewards.py", code), ("profiles", "p.yaml", profile)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    rows = [
        {"id": "right", "response": "It is 46", "ground_truth": "46"},
        {"id": "long", "response": "so " * 99 + "46", "ground_truth": "46"},
        {"id": "no truth", "response": "It is 46"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--profiles_dir", tmp_path / "profiles", "--plugins_dir", tmp_path / "own"]
    flags += ["--profile", "p", "--input", tmp_path / "in.jsonl", "--output", "-", "--explain"]
    done = run_command("score", *flags, "--workers", "1")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["reward"] for one in found] == [1.0, 0.0, None], done.stderr
    assert found[0]["explanation"]["mine"] == {"function": "my_rewards:short_enough", "chars": 8}
    assert found[2]["error"]["code"] == "scorer_failed"


def test_the_profiles_and_prefixes_shown_are_so() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    for block in blocks:
        ProfileConfig.model_validate(yaml.safe_load(block))
    table = re.findall(r"^\| `(\w+):` \|.*$", DOCS, re.MULTILINE)
    assert set(table) == set(FOREIGN)
    for name in TRUTH_COLUMNS:
        assert f"`{name}`" in DOCS


def test_the_figures_shown_are_those_that_were_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "functions.json").read_text())
    assert len(results["rows"]) == 8
    for row in results["rows"]:
        what = row["what"].partition(" a sample, ")[2]
        [line] = [one for one in DOCS.splitlines() if one.startswith(f"| {what} |")]
        assert f" {row['ours']} |" in line
        assert f" {row['peer']} |" in line
