"""`reward-server env` serves the clients of the Open Reward Standard and of OpenEnv.

Each runs in an environment of its own, which `environments/make.sh` makes.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT, clean_environment
from tests.contract.peers import python_of, run_script
from tests.waiting import wait_until
from touchstone_rewards.reward_server.__main__ import main

ROWS = [
    {"question": "What is 6 + 40?", "answer": "46"},
    {"question": "What is 1 + 1?", "answer": {"a": [{}]}},
    {"question": "What is 40 + 5?", "answer": "45"},
]
ANSWERS = ["\\boxed{46}", "\\boxed{45}"]
Serve = Callable[..., str]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def serve(rows: Path, tmp_path: Path) -> Iterator[Serve]:
    """`serve(python, "--wire", "ors", REWARD_API_KEY="…")` returns the environment's URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(python: str, *options: str, **environment: str) -> str:
        log = tmp_path / f"env{len(started)}.log"
        command = [python, "-m", "touchstone_rewards.reward_server", "env", "--data", str(rows)]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--port", "0", "--workers", "1", *options],
                stderr=file,
                cwd=ROOT,
                env={**clean_environment(), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment},
            )
        started.append(process)
        said = re.compile(r"http://[\d.]+:\d+")
        wait_until(lambda: said.search(log.read_text()) or process.poll() is not None)
        found = said.search(log.read_text())
        assert found, log.read_text()
        return found[0]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_openrewards_client_gets_every_reward_and_no_zero_for_a_missing_one(serve: Serve) -> None:
    python = python_of("openreward")
    url = serve(python, "--wire", "ors", REWARD_API_KEY="sesame")
    told = run_script(python, "ors_sessions", url, "sesame", "rows", json.dumps(ANSWERS))
    assert [reward for _, _, reward, _, _ in told["seen"]] == [1, 0, None, None, 0, 1]
    assert [code for *_, code in told["seen"]] == [
        None, None, "bad_ground_truth", "bad_ground_truth", None, None
    ]  # fmt: skip
    assert all(finished for _, _, _, finished, _ in told["seen"])
    assert told["groups"][0] == [1, 0]
    assert told["groups"][2] == [0, 1]
    assert "bad_ground_truth" in told["groups"][1]
    assert told["tasks"] == [
        {"index": at, "prompt": row["question"]} for at, row in enumerate(ROWS)
    ]


def test_an_environment_with_a_key_opens_for_no_other(serve: Serve) -> None:
    python = python_of("openreward")
    url = serve(python, "--wire", "ors", REWARD_API_KEY="sesame")
    with pytest.raises(AssertionError, match="401"):
        run_script(python, "ors_sessions", url, "guess", "rows", json.dumps(ANSWERS))


def test_openenvs_client_gets_every_reward_and_no_zero_for_a_missing_one(serve: Serve) -> None:
    python = python_of("openenv")
    url = serve(python, "--wire", "openenv")
    told = run_script(python, "openenv_episodes", url, str(len(ROWS)), json.dumps(ANSWERS))
    assert [reward for _, _, reward, _, _ in told["seen"]] == [1, 0, None, None, 0, 1]
    assert [prompt for prompt, *_ in told["seen"][::2]] == [row["question"] for row in ROWS]
    assert all(done for _, _, _, done, _ in told["seen"])
    assert "bad_ground_truth" in told["seen"][2][4]
    assert told["in_order"] == [0, 1, 2, 0]
    assert told["twice"][0] == told["twice"][1]


@pytest.mark.parametrize("wire", ["ors", "openenv"])
def test_a_wire_whose_package_is_missing_is_one_line(
    wire: str, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "touchstone_rewards.reward_server.commands.env.find_spec", lambda name: None
    )
    assert main(["env", "--data", str(rows), "--wire", wire]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"pip install '.[{wire}]' in the checkout" in line
