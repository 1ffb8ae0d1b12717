"""docs/remote.md and docs/code.md are true: keys, profiles, wires, outcomes, tolerances."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.models.config import RemoteEmbeddingConfig
from touchstone_rewards.reward_server.profiles import ProfileConfig, load_profiles
from touchstone_rewards.reward_server.remote.code_config import CodeConfig
from touchstone_rewards.reward_server.remote.code_runs import TestOutcome
from touchstone_rewards.reward_server.remote.reward_config import RemoteRewardConfig
from touchstone_rewards.reward_server.remote.reward_parity import TOLERANCE
from touchstone_rewards.reward_server.remote.reward_wires import REWARD_WIRES

REMOTE, CODE = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("remote", "code"))


def first_table(page: str) -> dict[str, str]:
    """Return each key of the first table of a page, and its default as written there."""
    table = page.split("\n\n| key |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+) \| ?([^|]*?) ?\|", table, re.MULTILINE)
    return {key: default for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}


@pytest.mark.parametrize(
    ("page", "config"), [(REMOTE, RemoteRewardConfig), (CODE, CodeConfig)], ids=["remote", "code"]
)
def test_every_key_is_told_with_its_default(
    page: str, config: type[RemoteRewardConfig | CodeConfig]
) -> None:
    told = first_table(page)
    assert set(told) == set(config.model_fields)
    for name, default in told.items():
        if re.fullmatch(r"\d+", default):
            assert float(default) == config.model_fields[name].default
        if default.startswith("`"):
            assert default.strip("`") == str(config.model_fields[name].default).lower()


@pytest.mark.parametrize("page", [REMOTE, CODE], ids=["remote", "code"])
def test_the_profiles_shown_are_profiles(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for at, block in enumerate(blocks):
        ProfileConfig.model_validate(yaml.safe_load(block))
        if "/models/" not in block:  # a folder that is not here
            (tmp_path / f"shown{at}.yaml").write_text(block)
    assert load_profiles([tmp_path])


def test_wires_outcomes_and_tolerances_are_told() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| `POST", REMOTE, re.MULTILINE)) == set(REWARD_WIRES)
    outcomes = CODE.split("| outcome |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", outcomes, re.MULTILINE)) == set(TestOutcome.__args__)
    assert (TOLERANCE["float32"], TOLERANCE["float16"], TOLERANCE["bfloat16"]) == (1e-3, 1e-2, 5e-2)
    for said in ("1e-3\nof the largest", "1e-2 in `float16`", "5e-2 in `bfloat16`"):
        assert said in REMOTE
    fields = RemoteEmbeddingConfig.model_fields
    for name in ("timeout_s", "batch_size", "max_in_flight"):
        assert f"`{name}` ({fields[name].default:g}" in REMOTE
