"""docs/profiles.md is true: its plug-in runs in a server, and its profiles load."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import ProfileConfig

DOCS = (ROOT / "docs" / "profiles.md").read_text()


def blocks(language: str, page: str = DOCS) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_profiles_shown_are_profiles_and_have_every_key() -> None:
    pages = [DOCS, *((ROOT / "docs" / f"{name}.md").read_text() for name in ("routing", "groups"))]
    shown = [
        ProfileConfig.model_validate(yaml.safe_load(block))
        for page in pages
        for block in blocks("yaml", page)
    ]
    assert shown[0].model_fields_set == set(ProfileConfig.model_fields) - {"route", "groups"}
    assert {"route", "groups"} <= {name for one in shown for name in one.model_fields_set}


def test_the_plug_in_shown_is_short_and_scores_in_a_server_by_path_and_by_entry_point(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    [code] = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "my_scorers.py").write_text(code)
    [entry_point] = blocks("toml")
    name, value = re.findall(r'^(\w+) = "(\S+)"$', entry_point, re.MULTILINE)[0]
    installed = tmp_path / "mine-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[touchstone.scorers]\n{name} = {value}\n")
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "by_path.yaml").write_text(blocks("yaml")[1])
    (profiles / "by_name.yaml").write_text(f"scorers: {{{name}: {{config: {{words: 2}}}}}}\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    options = ("--profiles_dir", str(profiles), "--scorer_modules", "my_scorers")
    server = start_server(*options, PYTHONPATH=path)

    def score(profile: str) -> dict:
        sample = {"id": "1", "response": "it is \\boxed{4} so", "ground_truth": "4"}
        body = {"profile": profile, "samples": [sample], "explain": True}
        answer = httpx2.post(f"{server.url}/score", json=body)
        return answer.json()["results"][0]

    assert score("by_path")["reward"] == 1.0 + 0.1
    assert score("by_name")["scores"] == {name: 0.5}  # two of four words
    assert score("by_name")["explanation"] == {name: {"words": 4}}
