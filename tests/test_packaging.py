"""The wheel has one import name and nothing else, and its bare install is the client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.checkout import ROOT
from touchstone_rewards.reward_server.live_server import LiveServer

NAMESAKES = ("clients", "trainer", "touchstone")
PARTS = ("pyproject.toml", "README.md", "LICENSE", "src", "clients", "reward_server", "trainer")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout from a copy, since a stale `build/` would be packed too."""
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / part, source / part)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", source / "dist", source], check=True, capture_output=True)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of an environment with the wheel and its requirements, without extras."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if pip(folder / "bin", "install", str(wheel)) != 0:
        pytest.skip("no package registry can be reached: pip cannot install the wheel")
    return folder / "bin"


def pip(place: Path, *words: str) -> int:
    command = [place / "python", "-m", "pip", "-q", "--disable-pip-version-check", *words]
    return subprocess.run(command, env=environment(), capture_output=True).returncode


def run(cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, env=environment(), capture_output=True, text=True)


def environment() -> dict[str, str]:
    """Return this environment without paths on which pip would find the checkout installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_wheel_installs_one_name(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"touchstone_rewards"}


def test_the_wheel_has_every_file_of_the_three_packages(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    for package in ("clients", "reward_server", "trainer"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"touchstone_rewards/{path.relative_to(ROOT)}" in packed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reward-server", "serve"], ".[server]"),
        (["reward-server", "score", "--input", "a", "--output", "b"], ".[server]"),
        (["trainer", "sft"], ".[train]"),
        (["trainer", "data", "show", "rows.jsonl"], ".[train]"),
    ],
)
def test_a_command_whose_extra_is_missing_says_which_on_one_line(
    bare: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = run(tmp_path, bare / words[0], *words[1:])
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"is not installed: pip install '{said}'" in line


def test_the_bare_install_is_the_client(bare: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from touchstone_rewards import RemoteRewardClient; "
        "RemoteRewardClient('http://127.0.0.1:8700'); "
        "sys.exit(' '.join({'torch', 'numpy', 'pydantic'} & set(sys.modules)) or 0)"
    )
    done = run(tmp_path, bare / "python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_project_with_folders_of_our_names_keeps_them(bare: Path, tmp_path: Path) -> None:
    for name in ("clients", "trainer", "reward_server"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    code = (
        "import clients, trainer, reward_server; "
        "assert clients.MINE and trainer.MINE and reward_server.MINE; "
        "from touchstone_rewards import RemoteRewardClient; import touchstone_rewards.trainer; "
        "assert not hasattr(touchstone_rewards.trainer, 'MINE')"
    )
    done = run(tmp_path, bare / "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert run(tmp_path, bare / "reward-server", "--help").returncode == 0
    assert run(tmp_path, bare / "trainer", "--help").returncode == 0


def test_namesakes_of_the_registry_come_and_go(bare: Path, tmp_path: Path) -> None:
    """Only the files of these packages matter: none is imported."""
    wanted = ["--no-deps", "--only-binary", ":all:"]
    there = [name for name in NAMESAKES if pip(bare, "install", *wanted, name) == 0]
    if not there:
        pytest.skip(f"the registry has no wheels of {', '.join(NAMESAKES)}")
    code = "from touchstone_rewards import RemoteRewardClient; print(RemoteRewardClient.__module__)"
    for _ in ("with them", "without them"):
        done = run(tmp_path, bare / "python", "-c", code)
        assert done.stdout.strip() == "touchstone_rewards.clients.client", done.stderr
        assert run(tmp_path, bare / "reward-server", "--help").returncode == 0
        pip(bare, "uninstall", "-y", *there)


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_client_and_bare_server_work_on_every_python(
    server: LiveServer, wheel: Path, tmp_path: Path, version: str
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version}: not on the path, not in TEST_PYTHONS")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
    place = tmp_path / "env" / "bin"
    constraints = str(ROOT / "constraints.txt")
    if pip(place, "install", "-c", constraints, f"{wheel}[server]") != 0:
        pytest.skip("no package registry can be reached: pip cannot install the wheel")
    (tmp_path / "in.jsonl").write_text('{"id": "1", "response": "#### 18", "ground_truth": "18"}')
    score = ["score", "--input", "in.jsonl", "--output", "out.jsonl", "--workers", "1"]
    done = run(tmp_path, place / "reward-server", *score)
    assert done.returncode == 0, done.stderr
    assert '"reward":1.0' in (tmp_path / "out.jsonl").read_text()
    code = (
        "import sys; from touchstone_rewards import RemoteRewardClient, Sample; "
        f"client = RemoteRewardClient({server.url!r}); "
        "print(client.score([Sample('1', '#### 18', ground_truth='18')])[0].reward); "
        "assert 'torch' not in sys.modules"
    )
    done = run(tmp_path, place / "python", "-c", code)
    assert done.stdout.strip() == "1.0", done.stderr


def interpreter(version: str) -> str | None:
    """Return a Python of this version from TEST_PYTHONS or PATH."""
    named = os.environ.get("TEST_PYTHONS", "").split(os.pathsep)
    for python in [*filter(None, named), shutil.which(f"python{version}")]:
        if python is not None:
            code = "import sys; print('%d.%d' % sys.version_info[:2])"
            found = subprocess.run([python, "-c", code], capture_output=True, text=True)
            if found.stdout.strip() == version:
                return python
    return None


def test_the_import_is_cheap_and_pulls_in_nothing_heavy(tmp_path: Path) -> None:
    # Processor seconds, since seconds of the clock include the machine's other work.
    code = (
        "import sys, time; began = time.process_time(); import touchstone_rewards; "
        "assert not {'torch', 'httpx2', 'msgspec'} & set(sys.modules); "
        "print(time.process_time() - began)"
    )
    command = [sys.executable, "-c", code]
    found = [subprocess.run(command, capture_output=True, text=True) for _ in range(5)]
    assert min(float(done.stdout) for done in found) < 0.15, found[0].stderr


def test_no_module_is_there_under_two_names() -> None:
    code = """
import importlib, os, pkgutil, sys
import touchstone_rewards
for module in pkgutil.walk_packages(touchstone_rewards.__path__, "touchstone_rewards."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # Of extras that may be missing here.
            assert error.name in ("ray", "openreward", "openenv"), error
files = {}
for name, module in list(sys.modules.items()):
    if path := getattr(module, "__file__", None):
        files.setdefault(os.path.realpath(path), []).append(name)
    assert name.split(".")[0] not in ("clients", "reward_server", "trainer"), name
ours = {path: names for path, names in files.items() if "touchstone_rewards" in names[0]}
assert len(ours) > 200
assert all(len(names) == 1 for names in ours.values()), ours
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
