"""The packages of the images are locked: each in one version, each version with its hashes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checkout import ROOT, linked_checkout
from tests.waiting import PATIENCE_S

LOCKS = ROOT / "docker" / "locks"
EXTRAS = ["server", "server,neural", "train"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(extras: str) -> dict[str, tuple[str, list[str]]]:
    """Return version and hashes by package name."""
    text = (LOCKS / f"{extras}.txt").read_text().replace("\\\n", " ")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found: dict[str, tuple[str, list[str]]] = {}
    for line in filter(None, lines):
        match = re.fullmatch(r"([a-z0-9.-]+)==(\S+)((?: +--hash=sha256:[0-9a-f]{64})+)", line)
        assert match, f"no pinned version with hashes: {line[:80]}"
        assert match[1] not in found
        found[match[1]] = match[2], re.findall(r"[0-9a-f]{64}", match[3])
    return found


@pytest.mark.parametrize("extras", EXTRAS)
def test_a_lock_has_what_the_project_asks_for_and_nothing_of_torchs(extras: str) -> None:
    lock = locked(extras)
    wanted = [*PROJECT["dependencies"]]
    for extra in extras.split(","):
        wanted += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name == "torch" or (requirement.marker and not requirement.marker.evaluate()):
            continue
        assert name in lock, f"{name} is not locked: make locks"
        assert lock[name][0] in requirement.specifier, f"{name} is out of date: make locks"
    assert not [name for name in lock if name.startswith(("torch", "nvidia-", "cuda-", "triton"))]


@pytest.mark.parametrize("extras", EXTRAS)
def test_a_lock_agrees_with_the_versions_that_are_tested_together(extras: str) -> None:
    lock = locked(extras)
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    shared = {canonicalize_name(name) for name in tested} & lock.keys()
    assert {"msgspec", "httpx2"} <= shared
    for name, version in tested.items():
        if canonicalize_name(name) in lock:
            assert lock[canonicalize_name(name)][0] == version


def test_locks_name_no_index_and_the_images_install_by_hash() -> None:
    assert {path.stem for path in LOCKS.glob("*.txt")} == set(EXTRAS)
    for path in LOCKS.iterdir():
        assert "://" not in path.read_text()
    for name in ("reward_server", "trainer"):
        text = Path(ROOT / "docker" / f"{name}.Dockerfile").read_text()
        assert '--no-deps --require-hashes -r "$lock"' in text
        assert "COPY docker/locks /locks" in text


@pytest.mark.parametrize("name", ["reward_server", "trainer"])
def test_what_an_image_copies_is_not_ignored(name: str) -> None:
    let_through = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M)
        for source in line.split()[:-1]
    ]
    assert "pyproject.toml" in copied
    for source in copied:
        assert any(source == each or source.startswith(f"{each}/") for each in let_through), source


@pytest.mark.long
def test_make_writes_the_locks_and_the_lists_of_components(tmp_path: Path) -> None:
    linked_checkout(tmp_path, "Makefile", "pyproject.toml", "constraints.txt")
    shutil.copytree(LOCKS, tmp_path / "docker" / "locks")
    if make(tmp_path, ".venv-tools/.installed") != 0:
        pytest.skip("no package registry can be reached: pip cannot install the tools")
    assert make(tmp_path, "sbom") == 0
    lists = {
        path.name: json.loads(path.read_text()) for path in (tmp_path / "build").rglob("*.json")
    }
    image = {each["name"]: each for each in lists["server_image.cdx.json"]["components"]}
    assert set(image) == set(locked("server"))
    assert "pytest" in {each["name"] for each in lists["environment.cdx.json"]["components"]}
    lock = tmp_path / "docker" / "locks" / "server.txt"
    lock.write_text("")
    assert make(tmp_path, "locks") == 0
    assert set(locked("server")) <= set(re.findall(r"^([a-z0-9.-]+)==", lock.read_text(), re.M))


def make(folder: Path, target: str) -> int:
    done = subprocess.run(["make", target], cwd=folder, capture_output=True, timeout=PATIENCE_S)
    return done.returncode
