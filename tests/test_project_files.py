"""The files that a repository host reads: workflows, issue forms, and every path they name."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards import __version__

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def loaded(path: Path) -> Any:
    """Return a YAML file; GitHub reads `on` as a name where YAML 1.1 reads a boolean."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_bounds_and_runs_what_there_is(path: Path) -> None:
    content = loaded(path)
    assert {"name", "on", "permissions", "jobs"} <= set(content)
    assert all(int(job["timeout-minutes"]) > 0 for job in content["jobs"].values())
    for step in steps(path):
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))
        if "run" in step:
            bare = re.sub(r"\$\{\{.*?\}\}", "x", step["run"])
            subprocess.run(["bash", "-n", "-c", bare], check=True)
            for target in re.findall(r"^make (\S+)", bare, re.MULTILINE):
                subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_the_tests_run_on_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    tests = loaded(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["test"]
    assert tests["strategy"]["matrix"]["python"] == promised
    assert project["requires-python"] == f">={promised[0]}"


def test_the_images_that_are_built_are_those_of_the_stack() -> None:
    images = loaded(ROOT / ".github" / "workflows" / "images.yml")["jobs"]["image"]
    files = {each["file"] for each in images["strategy"]["matrix"]["include"]}
    services = loaded(ROOT / "docker-compose.yml")["services"].values()
    assert files == {each["build"]["dockerfile"] for each in services if "build" in each}
    assert all((ROOT / file).is_file() for file in files)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_asks_for_something(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= set(form)
    asked = [each for each in form["body"] if each["type"] in ("textarea", "input")]
    assert asked
    assert all(each["attributes"]["label"] for each in asked)


def test_one_version_stands_everywhere() -> None:
    named = {
        (path.name, version)
        for path in (ROOT / "docker-compose.yml", *(ROOT / "docker" / "k8s").glob("*.yaml"))
        for version in re.findall(r"image: touchstone-[\w-]+:(\d[\d.]*\d)", path.read_text())
    }
    assert {version for _, version in named} == {__version__}
    assert (
        f"to {'.'.join(__version__.split('.')[:2])}" in (ROOT / "docs" / "upgrading.md").read_text()
    )
