"""docs/compat.md and the files of docs/launch parse, and every name in them exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.compat.formats import FIXED_ANSWERS, FORMATS

PAGE = (ROOT / "docs" / "compat.md").read_text(encoding="utf-8")
LAUNCH = ROOT / "docs" / "launch"
# Flags of a launch file, and the trainer's file that defines them.
FLAGS = {
    "openrlhf.sh": (r"^ +(--[\w.]+)", "OpenRLHF/openrlhf/cli/train_ppo_ray.py"),
    "slime.sh": (r"^ +(--[\w-]+)", "slime/slime/utils/arguments.py"),
}


def test_the_page_names_every_route_and_no_other() -> None:
    named = set(re.findall(r"/compat/[\w/]+[a-z_]", PAGE + _launch_text()))
    routes = {each.route for each in FORMATS}
    assert routes <= named
    known = routes | {each.path for each in FIXED_ANSWERS}
    assert {name for name in named if not any(route.startswith(name) for route in known)} == set()


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_a_launch_script_is_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("path", sorted(LAUNCH.rglob("*.yaml")), ids=lambda path: path.name)
def test_a_launch_file_is_a_mapping(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize("name", FLAGS)
def test_a_launch_scripts_flags_are_the_trainers(name: str) -> None:
    pattern, source = FLAGS[name]
    path = Path(os.environ.get("TOUCHSTONE_CONTRACT", "/nowhere"), source)
    if not path.is_file():
        pytest.skip(f"no checkout with {source} in TOUCHSTONE_CONTRACT")
    flags = re.findall(pattern, (LAUNCH / name).read_text(), flags=re.MULTILINE)
    assert flags
    defined = path.read_text(encoding="utf-8")
    assert [flag for flag in flags if f'"{flag}"' not in defined] == []


def _launch_text() -> str:
    return "".join(path.read_text() for path in LAUNCH.rglob("*.*") if path.suffix != ".pyc")
