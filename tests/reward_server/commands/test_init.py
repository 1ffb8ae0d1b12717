"""`reward-server init` writes files that work as printed, and overwrites none."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import clean_environment, run_command
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer

SERVER = [sys.executable, "-m", "touchstone_rewards.reward_server"]


def test_every_command_that_it_prints_runs(tmp_path: Path) -> None:
    folder = tmp_path / "my-rule"
    made = run_command("init", folder)
    assert made.returncode == 0, made.stderr
    printed = [line.strip() for line in made.stdout.splitlines() if line.startswith("  ")]
    cd, test, check, score, serve, curl = map(shlex.split, printed)
    assert cd == ["cd", str(folder)]
    for words in ([sys.executable, *test[1:]], [*SERVER, *check[1:]], [*SERVER, *score[1:]]):
        done = subprocess.run(
            words,
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
    assert [json.loads(line)["reward"] for line in done.stdout.splitlines()] == [
        *[1.0] * 4,
        *[0.0] * 4,
        0.5,
        0.0,
    ]
    assert serve[:2] == ["reward-server", "serve"]
    environment = dict(clean_environment())
    with LiveServer(
        tmp_path / "log", *serve[2:], "--workers", "1", environment=environment, cwd=folder
    ) as live:
        url = curl[1].replace("http://127.0.0.1:8700", live.url)
        done = subprocess.run(["curl", "-s", url, *curl[2:]], capture_output=True, text=True)
        assert json.loads(done.stdout)["results"][0]["reward"] == 1.0, done.stdout


def test_the_test_that_it_writes_fails_when_the_function_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    assert run_command("init", folder).returncode == 0
    module = folder / "rewards" / "wrong_rewards.py"
    module.write_text(module.read_text().replace("if right else 0.0", "if right else 0.1"))
    done = subprocess.run(
        [sys.executable, "test_wrong_rewards.py"],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert "row-5: expected 0.0, got" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("taken", "taken/rows.jsonl already exists; give another name"),
        ("math", "there is a built-in profile 'math'"),
        ("1st", "'1st' cannot name a profile"),
        ("a/b.c", "'b.c' cannot name a profile"),
    ],
)
def test_it_writes_over_nothing_and_refuses_in_one_line(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "rows.jsonl").write_text("mine\n")
    done = run_command("init", tmp_path / name)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["rows.jsonl"]
    assert (tmp_path / "taken" / "rows.jsonl").read_text() == "mine\n"
