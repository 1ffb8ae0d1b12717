"""The how-tos do what they say, typed as they stand; a test types every command of every page."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import httpx2
import pytest

from tests.checkout import ROOT, linked_checkout
from tests.page_commands import ELSEWHERE, PAGES, commands_of, faults_of, there
from tests.test_typed_pages import EXAMPLES, TUTORIALS, check_output
from tests.test_typed_pages import KINDS as TYPED_KINDS
from tests.typed_pages import blocks_of, type_page
from touchstone_rewards.reward_server.__main__ import _underscored, command_parser
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.models.fetchable import FETCHED_FILE, fetched_folder
from touchstone_rewards.trainer.__main__ import COMMANDS, MODULES, main
from touchstone_rewards.trainer.aliases import NAMES
from touchstone_rewards.trainer.completion import command_parser as trainer_parser

DOCS = ROOT / "docs"
# What a reader has before the page begins: rows of data, a log, labels, kept samples.
TYPED = ("audit", "lint", "capacity", "profiles", "operations", "functions")
# These load a model for embeddings.
EMBEDDING = ("neural", "story_scorer")
# A reader types these in a checkout, in which `make demo QUICK=1` was typed before.
TRAINERS = (
    *("trainer", "sft", "rm", "dpo", "grpo", "ppo", "eval", "limr", "study", "coming_from"),
    *("growing", "models"),
)
# Marks of single pages, which other tests read.
KINDS = {*TYPED_KINDS, "make", "python", "function", "profile", "plug-in"}
ALL = [
    *(page for page in DOCS.rglob("*.md") if "decisions" not in page.parts),
    *(ROOT / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / "examples").rglob("*.md"),
]
FENCED = re.compile(r"^ *```(?:bash|sh|)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
ROWS = [
    {
        "id": str(at),
        "prompt": f"Tom has {at} apples and finds another. How many are there?",
        "response": f"#### {at + 1}",
    }
    | {"ground_truth": str(at + 1)}
    for at in range(6)
]


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def reader(tmp_path: Path, start_server: Callable[..., LiveServer]) -> Path:
    """A folder with a reader's own files: data, a score log, labels, a trainer's samples."""
    folder = tmp_path / "reader"
    for name in ("train.jsonl", "data.jsonl"):
        written(
            folder / name, [{key: row[key] for key in row if key != "response"} for row in ROWS]
        )
    written(folder / "labelled.jsonl", [{**row, "label": "yes"} for row in ROWS])
    kept = [{**row, "reward": 1.0, "step": 1, "scores": {"math": 1.0}} for row in ROWS]
    written(folder / "runs" / "grpo" / "samples" / "samples_step_1.jsonl", kept)
    live = start_server(REWARD_SCORE_LOG=str(folder / "scores.jsonl"))
    httpx2.post(f"{live.url}/score", json={"profile": "math", "samples": ROWS}, timeout=60)
    assert live.stop() == 0
    (folder / "logs").mkdir()
    shutil.copy(folder / "scores.jsonl", folder / "logs" / "scores.jsonl")
    return folder


@pytest.mark.parametrize(
    "name", [*TYPED, *(pytest.param(name, marks=pytest.mark.long) for name in EMBEDDING)]
)
def test_a_how_to_does_what_it_says(name: str, reader: Path) -> None:
    does_what_it_says(name, reader)


def does_what_it_says(name: str, folder: Path, places: dict[str, str] | None = None) -> None:
    """Type a page in a folder, and hold what it prints to the page."""
    blocks = blocks_of((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    assert any(block.kind == "run" for block in blocks)
    typed = type_page(blocks, folder, places=places)
    assert typed.status == 0, f"{typed.output[-3000:]}\n{typed.errors[-3000:]}"
    check_output(blocks, typed.steps)


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo QUICK=1` leaves, after fewer steps."""
    folder = tmp_path_factory.mktemp("made") / "demo_quick"
    steps = ["--sft_steps=200", "--grpo_steps=3", "--test_problems=30"]
    main(["quick_demo", *steps, f"--output={folder}"])
    assert (folder / "report.html").is_file()
    return folder


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_page_of_the_trainers_does_what_it_says(
    name: str, small_demo: Path, server: LiveServer, tmp_path: Path
) -> None:
    if name == "models":
        for each in ("smollm2", "e5-multilingual"):
            if not (fetched_folder(each) / FETCHED_FILE).is_file():
                pytest.skip(f"not on this machine: reward-server fetch {each}")
    folder = linked_checkout(tmp_path, "trainer")
    (folder / "runs").mkdir()
    (folder / "runs" / "demo_quick").symlink_to(small_demo)
    does_what_it_says(name, folder, {"http://127.0.0.1:8700": server.url})


@cache
def options_of_trainer(command: str) -> frozenset[str]:
    """Return the options that a command of `trainer` has, with other projects' names for them."""
    parser: argparse.ArgumentParser = trainer_parser(COMMANDS, MODULES)
    for word in command.split():
        [below] = [each.choices for each in parser._actions if isinstance(each.choices, dict)]
        parser = below[word]
    return frozenset({*parser._option_string_actions, *(f"--{name}" for name in NAMES)})


def words_of(markdown: str) -> Iterator[list[str]]:
    """Yield the words of each command of this project on a page."""
    for code in FENCED.findall(markdown):
        for line in code.replace("\\\n", " ").splitlines():
            with_settings = re.sub(r"^\s*(?:\$ )?(?:\w+=\S+ +)*", "", line).split("&&")
            for each in with_settings:
                try:
                    words = shlex.split(each, comments=True)
                except ValueError:
                    continue
                if words and words[0] in ("reward-server", "trainer", "make"):
                    yield words


def wrong_command(words: list[str]) -> str | None:
    """Return what is wrong with a command, or None; `…` stands for what a reader puts there."""
    program, *rest = words
    rest = rest[
        : next((at for at, word in enumerate(rest) if word in ("|", "||", ">", ";")), len(rest))
    ]
    if program == "make":
        if "BENCH=" in (told := " ".join(rest)) and "NAME" not in told.upper().split("BENCH=")[1]:
            name = told.partition("BENCH=")[2].split()[0]
            return None if (ROOT / "benchmarks" / f"{name}.py").is_file() else f"no bench {name}"
        made = subprocess.run(["make", "-n", *rest], cwd=ROOT, capture_output=True)
        return None if made.returncode == 0 else f"make has no {' '.join(rest)}"
    if program == "reward-server":
        try:
            given = [_underscored(word) for word in rest if word != "…"]
            command_parser(given[:1]).parse_args(given)
        except SystemExit as end:
            return None if not end.code else f"reward-server refuses {' '.join(rest)}"
        return None
    name = next((each for each in (" ".join(rest[:2]), rest[0]) if each in COMMANDS), None)
    if name is None:
        return f"trainer has no {rest[0]}"
    if name == "run":  # any key of another project's file, too
        return None
    flags = [word.partition("=")[0].replace("-", "_").replace("__", "--", 1) for word in rest]
    known = options_of_trainer(name) | {"--help", "--help_all", "--traceback", "--config"}
    return next(
        (
            f"trainer {name} has no {flag}"
            for flag in flags
            if flag[:2] == "--" and flag not in known
        ),
        None,
    )


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_one_that_there_is(page: Path) -> None:
    found = map(wrong_command, words_of(page.read_text(encoding="utf-8")))
    assert [each for each in found if each] == []


def test_a_command_that_there_is_not_is_found() -> None:
    page = (
        "```bash\nX=1 reward-server serve --prot 1\ntrainer grpo --learning_rat 1 \\\n  --beta 2\n"
    )
    page += (
        "trainer gpro\nmake nothing\nmake bench BENCH=none\nreward-server plan --step_s 3\n```\n"
    )
    assert [bool(wrong_command(words)) for words in words_of(page)] == [*[True] * 5, True]
    right = (
        "```\n$ trainer grpo --learning_rate 1e-6\nmake serve  # here\nreward-server serve\n```\n"
    )
    assert [wrong_command(words) for words in words_of(right)] == [None] * 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_typed_by_a_test(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert faults_of(text) == []
    kinds = {block.kind for block in blocks_of(text)} - {""}
    assert kinds <= KINDS
    if kinds & {"run", "server"} and page != ROOT / "README.md":  # by tests/test_readme.py
        how_tos = [DOCS / f"{name}.md" for name in (*TYPED, *EMBEDDING, *TRAINERS)]
        assert page in (*TUTORIALS, *EXAMPLES, *how_tos), "no test types this page"


def test_a_command_that_nobody_types_is_found() -> None:
    typed = "<!-- checked: run -->\n```bash\ntrainer merge --model a --output b\n```\n"
    assert faults_of(typed) == []
    for fault in (
        "```bash\nreward-server score --profile x\n```\n",
        "```\n$ A=1 trainer sft \\\n  --beta 2\n```\n",
        "```console\nanything at all\n```\n",
        "1. so\n\n   ```bash\n   echo\n   ```\n",
        "    docker run image\n",
        "Type `reward-server serve --no_such_option 1` now.",
        "Type `make bench BENCH=none`, please.",
        "Type `kubectl apply -f x.yaml`.",
        "<!-- checked: by tests/test_readme.py::test_none -->\n```bash\nls\n```\n",
        "<!-- checked: by docs/sft.md -->\n```bash\ntrainer merge --model a\n```\n",
        "<!-- checked: make -->\n```bash\nmake nothing\n```\n",
    ):
        assert len(faults_of(fault)) == 1, fault
    text = "Then `trainer sft`, `make bench BENCH=math` and `trainer sft --max_steps`."
    assert faults_of(text) == []


def test_who_types_what_is_too_long_to_type_again_is_there() -> None:
    for place in ELSEWHERE.values():
        assert there(place.format("math")), place


def test_at_most_five_commands_cannot_be_run() -> None:
    found = {
        command
        for page in PAGES
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.kind == "not here"
        for command in commands_of(block.code)
        if not command.startswith("cd ")
    }
    assert 1 <= len(found) <= 5, found
