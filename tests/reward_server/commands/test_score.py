"""`reward-server score`: a file of samples in, a file of results out, no server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.checkout import run_command
from touchstone_rewards.reward_server.live_server import LiveServer


def score(*options: object) -> subprocess.CompletedProcess[str]:
    return run_command("score", "--workers", 2, *options)


def write(path: Path, samples: list[dict]) -> Path:
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_gets_the_results_that_the_server_gives(tmp_path: Path, server: LiveServer) -> None:
    samples = [
        {"id": str(i), "response": f"\\boxed{{{i % 10}}}", "ground_truth": "3" if i % 7 else None}
        for i in range(3000)
    ]
    source, target = write(tmp_path / "samples.jsonl", samples), tmp_path / "new" / "results.jsonl"
    done = score("--profile", "math", "--input", source, "--output", target)
    assert done.returncode == 0, done.stderr
    answer = httpx2.post(f"{server.url}/score", json={"samples": samples}, timeout=60).json()
    assert read(target) == answer["results"]
    failed = len(range(0, 3000, 7))
    assert f"{3000 - failed} scored, {failed} failed, mean reward 0.1" in done.stdout


def test_explanations_are_written_on_request(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"id": "1", "response": "4"}])
    done = score(
        "--profile", "format", "--explain", "--input", source, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    [result] = read(tmp_path / "out")
    assert result["explanation"] == {"format": {"rule": "no <think>…</think> pair"}}


@pytest.mark.parametrize("line", ["{", '{"id": "x"}', '{"id": "x", "response": "", "reponse": ""}'])
def test_a_bad_line_is_named_and_the_results_before_it_are_kept(tmp_path: Path, line: str) -> None:
    source = write(tmp_path / "in.jsonl", [{"id": str(i), "response": "4"} for i in range(1500)])
    source.write_text(source.read_text() + f"\n{line}\n" + source.read_text())
    done = score("--profile", "dummy", "--input", source, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert f"{source}, line 1502: " in done.stderr
    assert len(read(tmp_path / "out")) == 1500


def test_an_empty_file_gives_an_empty_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [])
    done = score("--profile", "dummy", "--input", source, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b""


def test_what_cannot_work_is_one_clear_line(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"id": "1", "response": "4"}])
    output = ("--output", tmp_path / "out")
    for options, complaint in [
        (("--input", tmp_path / "none.jsonl"), "none.jsonl is not a file"),
        (("--input", source, "--profile", "maths"), "'maths' is not known; known: "),
        (("--input", source, "--workers", "none"), "workers"),
    ]:
        done = score(*options, *output)
        assert done.returncode == 2
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr
