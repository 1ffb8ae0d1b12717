"""The commands of the READMEs work as a newcomer types them, or are marked with their needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT, linked_checkout
from tests.test_typed_pages import check_output
from tests.typed_pages import blocks_of, type_page
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer

MARKED = re.compile(r"(?:<!-- checked: (.+?) -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
READMES = ("README.md", "README.zh.md")


def blocks(kind: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Return README, mark and code of every block of commands."""
    for name in READMES:
        for mark, _, code in MARKED.findall((ROOT / name).read_text(encoding="utf-8")):
            if kind in (None, mark):
                yield name, mark, code


def newcomers_environment() -> dict[str, str]:
    """Return a shell in which no environment is active, since the README has to say how to activate
    it.
    """
    ours = Path(sys.executable).parent
    path = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != ours]
    return {**os.environ, "PATH": os.pathsep.join(path)}


def test_every_block_of_commands_says_how_it_is_checked() -> None:
    marks = {mark for _, mark, _ in blocks()}
    assert {mark.split()[0] for mark in marks} <= {"run", "python", "make", "by"}
    assert {"run", "python", "make"} <= marks


@pytest.mark.parametrize("readme", READMES)
def test_commands_run_one_after_the_other_as_typed(
    server: LiveServer, tmp_path: Path, readme: str
) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    if sys.prefix == sys.base_prefix:
        pytest.skip("this Python is in no virtual environment that could be activated")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    code = "\n".join(each for name, _, each in blocks("run") if name == readme)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code.replace("http://127.0.0.1:8700", server.url)],
        cwd=tmp_path,
        env=newcomers_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, f"{readme}: {done.stderr}"
    assert re.findall(r'"reward":(\S+?),', done.stdout)[:3] == ["1.0", "0.0", "null"]


@pytest.mark.parametrize(("readme", "_mark", "code"), list(blocks("python")))
def test_python_runs(
    server: LiveServer, tmp_path: Path, readme: str, _mark: str, code: str
) -> None:
    code = code.replace("http://127.0.0.1:8700", server.url)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, f"{readme}: {done.stderr}"
    assert done.stdout.startswith("1.0 {'math': 1.0")


@pytest.mark.parametrize(("readme", "_mark", "code"), list(blocks("make")))
def test_make_targets_exist(readme: str, _mark: str, code: str) -> None:
    for line in code.strip().splitlines():
        command = line.split("#")[0].split()
        assert command[0] == "make", f"{readme}: {line}"
        subprocess.run(["make", "-n", *command[1:]], cwd=ROOT, check=True, capture_output=True)


def test_make_serves(tmp_path: Path) -> None:
    """In a checkout whose environment is there: nothing is installed again."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("this Python is in no virtual environment")
    linked_checkout(tmp_path, "Makefile", "pyproject.toml", "constraints.txt")
    page = "<!-- checked: server -->\n```bash\nmake serve\n```\n"
    page += "<!-- checked: run -->\n```bash\ncurl -s http://127.0.0.1:8700/profiles\n```\n"
    page += '<!-- checked: prints -->\n```\n{"profiles":…"math"\n```\n'
    shown = blocks_of(page)
    typed = type_page(shown, tmp_path)
    assert typed.status == 0, typed.errors
    check_output(shown, typed.steps)


@pytest.mark.parametrize("readme", READMES)
def test_the_tree_and_the_links_lead_somewhere(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    tree = re.findall(r"^([a-z_]+/) {2,}\S", text, re.MULTILINE)
    assert len(tree) >= 6
    links = re.findall(r"\]\(([^)#:]+?)\)", text)
    missing = [place for place in [*tree, *links] if not (ROOT / place).exists()]
    assert not missing


def test_both_languages_give_the_same_commands() -> None:
    code = {name: [block[2] for block in blocks() if block[0] == name] for name in READMES}

    def bare(lines: str) -> str:
        return re.sub(r"\s*# .*", "", lines)

    assert list(map(bare, code["README.md"])) == list(map(bare, code["README.zh.md"]))


def test_the_sizes_are_those_that_were_measured() -> None:
    results = ROOT / "benchmarks" / "results" / "sizes.json"
    server, everything, *_ = json.loads(results.read_text())["rows"]
    for name, packages in (("README.md", "packages, "), ("README.zh.md", "个包，")):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert f"{server['packages']} {packages}{server['size_bytes'] / 1e6:.0f} MB" in text
        assert f"{everything['packages']} {packages}{everything['size_bytes'] / 1e9:.1f} GB" in text


def test_nothing_says_to_install_a_package_that_no_registry_has() -> None:
    """The name `touchstone-rewards` could be registered by anyone on a public registry."""
    texts = [
        path
        for folder in (
            ".github",
            "docs",
            "examples",
            "reward_server",
            "clients",
            "trainer",
            "src",
            "docker",
            "tests",
        )
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".md", ".py", ".yaml", ".yml", ".sh") and path.is_file()
    ]
    wrong = re.compile(r"pip install (?:-\S+ )*['\"]?touchstone")
    found = [str(path.relative_to(ROOT)) for path in texts if wrong.search(path.read_text())]
    assert found == []
