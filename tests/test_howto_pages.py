"""The how-tos: their commands run as they stand, or are at least ones that there are."""

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

from tests.checkout import ROOT
from tests.test_typed_pages import check_output
from tests.typed_pages import blocks_of, type_page
from touchstone_rewards.reward_server.__main__ import _underscored, command_parser
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import COMMANDS, MODULES
from touchstone_rewards.trainer.aliases import NAMES
from touchstone_rewards.trainer.completion import command_parser as trainer_parser

DOCS = ROOT / "docs"
# What a reader has before the page begins: rows of data, a log, labels, kept samples.
TYPED = ("audit", "lint", "growing", "capacity", "profiles", "operations")
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


@pytest.mark.parametrize("name", TYPED)
def test_a_how_to_does_what_it_says(name: str, reader: Path) -> None:
    blocks = blocks_of((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    assert any(block.kind == "run" for block in blocks)
    typed = type_page(blocks, reader)
    assert typed.status == 0, f"{typed.output[-3000:]}\n{typed.errors[-3000:]}"
    check_output(blocks, typed.steps)


@cache
def options_of_trainer(command: str) -> frozenset[str]:
    """Return the options that a command of `trainer` has, with other projects' names for them."""
    parser: argparse.ArgumentParser = trainer_parser(COMMANDS, MODULES)
    for word in command.split():
        [below] = [each.choices for each in parser._actions if isinstance(each.choices, dict)]
        parser = below[word]
    return frozenset({*parser._option_string_actions, *(f"--{name}" for name in NAMES)})


def commands_of(markdown: str) -> Iterator[list[str]]:
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
    found = map(wrong_command, commands_of(page.read_text(encoding="utf-8")))
    assert [each for each in found if each] == []


def test_a_command_that_there_is_not_is_found() -> None:
    page = (
        "```bash\nX=1 reward-server serve --prot 1\ntrainer grpo --learning_rat 1 \\\n  --beta 2\n"
    )
    page += (
        "trainer gpro\nmake nothing\nmake bench BENCH=none\nreward-server plan --step_s 3\n```\n"
    )
    assert [bool(wrong_command(words)) for words in commands_of(page)] == [*[True] * 5, True]
    right = (
        "```\n$ trainer grpo --learning_rate 1e-6\nmake serve  # here\nreward-server serve\n```\n"
    )
    assert [wrong_command(words) for words in commands_of(right)] == [None] * 3
