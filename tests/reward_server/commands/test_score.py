"""`reward-server score`: a file of samples in, a file of results out, no server."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tests.checkout import ROOT, clean_environment, run_command
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.stored.draft import MadeFrom, open_draft


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
    answer = httpx2.post(f"{server.url}/score", json={"samples": samples}).json()
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
    assert len(read(tmp_path / "out.partial")) == 1500
    assert not (tmp_path / "out").exists()


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


SAMPLES = [{"id": str(i), "response": f"{i}"} for i in range(300)]
DUMMY = ("--profile", "dummy")


def piped(content: bytes, *options: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command with `content` on its standard input."""
    command = [sys.executable, "-m", "touchstone_rewards.reward_server", "score", *DUMMY]
    about = {"cwd": ROOT, "env": clean_environment(), "timeout": 120, "capture_output": True}
    return subprocess.run([*command, *map(str, options)], input=content, **about, **more)  # type: ignore[call-overload]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("link", ["same", "relative", "symlink", "hardlink"])
def test_an_output_that_is_the_input_is_refused_and_left_as_it_is(
    tmp_path: Path, link: str
) -> None:
    source = write(tmp_path / "in.jsonl", SAMPLES)
    target = tmp_path / "out.jsonl"
    if link == "same":
        target = source
    elif link == "relative":
        (tmp_path / "folder").mkdir()
        target = tmp_path / "folder" / ".." / "in.jsonl"
    elif link == "symlink":
        target.symlink_to(source)
    else:
        os.link(source, target)
    before = source.read_bytes()
    for options in ((), ("--overwrite",), ("--resume",)):
        done = score(*DUMMY, "--input", source, "--output", target, *options)
        assert done.returncode == 2
        assert "is the input" in done.stderr
        assert source.read_bytes() == before


def test_an_output_that_exists_is_neither_emptied_nor_replaced_unasked(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", SAMPLES), tmp_path / "out"
    target.write_text("precious\n")
    options = (*DUMMY, "--input", source, "--output", target)
    done = score(*options)
    assert done.returncode == 2
    assert "exists; --overwrite replaces it" in done.stderr
    source.write_text("{\n")
    assert score(*options, "--overwrite").returncode == 2
    assert target.read_text() == "precious\n"
    write(source, SAMPLES)
    assert score(*options, "--overwrite").returncode == 0
    assert len(read(target)) == 300
    assert names(tmp_path) == {"in.jsonl", "out"}


def test_a_killed_run_is_gone_on_with_and_comes_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(
        "scorers: {slow: {scorer: 'tests.reward_server.hostile_scorers:Hostile'}}"
    )
    samples = [{"id": f"{i}", "response": "0.001", "ground_truth": "sleep"} for i in range(6000)]
    source, target = write(tmp_path / "in.jsonl", samples), tmp_path / "out"
    partial = tmp_path / "out.partial"
    options = ["--profile", "slow", "--profiles_dir", tmp_path, "--input", source]
    options += ["--output", target, "--workers", 2]
    command = [sys.executable, "-m", "touchstone_rewards.reward_server", "score"]
    running = subprocess.Popen([*command, *map(str, options)], cwd=ROOT, env=clean_environment())
    while not (partial.exists() and partial.stat().st_size):
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    with partial.open("a") as file:
        file.write('{"id": "to')
    kept = partial.read_bytes().count(b"\n")
    assert 0 < kept < 6000
    assert not target.exists()
    done = run_command("score", *options)
    assert done.returncode == 2
    assert "--resume continues it" in done.stderr
    done = run_command("score", *options, "--explain", "--resume")
    assert done.returncode == 2
    assert "was made with explain False, not True" in done.stderr
    done = run_command("score", *options, "--resume")
    assert done.returncode == 0, done.stderr
    assert "6000 scored, 0 failed" in done.stdout
    assert [row["id"] for row in read(target)] == [f"{i}" for i in range(6000)]
    done = run_command("score", *options, "--resume")
    assert (done.returncode, "nothing left to do" in done.stdout) == (0, True)
    assert names(tmp_path) == {"in.jsonl", "out", "slow.yaml"}


def test_what_was_left_of_another_input_is_not_gone_on_with(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", SAMPLES)
    source.write_text(source.read_text() + "{\n")
    options = (*DUMMY, "--input", source, "--output", tmp_path / "out")
    assert score(*options).returncode == 2
    write(source, SAMPLES[1:])
    done = score(*options, "--resume")
    assert done.returncode == 2
    assert "line 1 is for sample '0', but the input has sample '1' there" in done.stderr


def test_a_full_disk_leaves_whole_lines_and_one_line_of_complaint(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"id": f"{i}", "response": "x"} for i in range(3000)])
    options = ("--input", source, "--output", tmp_path / "out")
    full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))}
    done = piped(b"", *options, **full)
    assert done.returncode == 1
    [complaint] = [line for line in done.stderr.decode().splitlines() if "reward-server:" in line]
    assert "out.partial cannot be written: File too large" in complaint
    assert b"Traceback" not in done.stderr
    assert len(read(tmp_path / "out.partial")) == 1024
    assert piped(b"", *options, "--resume").returncode == 0
    assert [row["id"] for row in read(tmp_path / "out")] == [str(i) for i in range(3000)]
    done = piped(b"", "--input", source, "--output", "/dev/full")
    assert done.returncode == 1
    assert b"/dev/full cannot be written: No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_standard_input_to_standard_output(tmp_path: Path) -> None:
    content = "".join(json.dumps(sample) + "\n" for sample in SAMPLES).encode()
    done = piped(content, "--input", "-", "--output", "-")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [
        s["id"] for s in SAMPLES
    ]
    assert b"300 scored, 0 failed" in done.stderr


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_packed_files_marks_and_line_ends_of_windows_are_read(tmp_path: Path, suffix: str) -> None:
    content = b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(each).encode() for each in SAMPLES)
    source, target = tmp_path / f"in.jsonl{suffix}", tmp_path / f"out.jsonl{suffix}"
    with packing(source, suffix, "wb") as file:
        file.write(content)
    done = score(*DUMMY, "--input", source, "--output", target)
    assert done.returncode == 0, done.stderr
    with packing(target, suffix, "rb") as file:
        assert [json.loads(line)["id"] for line in file] == [each["id"] for each in SAMPLES]
    assert names(tmp_path) == {source.name, target.name}
    if suffix:
        source.write_bytes(source.read_bytes()[:-20])
        done = score(*DUMMY, "--input", source, "--output", target, "--overwrite")
        assert done.returncode == 2
        assert "cannot be read to its end" in done.stderr


def packing(path: Path, suffix: str, mode: str) -> Any:
    return {"": open, ".gz": gzip.open, ".zst": zstd.open}[suffix](path, mode)


def test_a_bad_row_is_rejected_alone_with_its_line_and_the_reason(tmp_path: Path) -> None:
    rows = [json.dumps(each) for each in SAMPLES]
    rows[7], rows[20] = "{", '{"id": "x"}'
    source, target = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("\n".join(rows))
    options = (*DUMMY, "--input", source, "--output", target)
    done = score(*options, "--max_bad_frac", 0.001)
    assert done.returncode == 2
    assert "1 of 300 rows are invalid, more than --max_bad_frac 0.001" in done.stderr
    assert not target.exists()
    done = score(*options, "--max_bad_frac", 0.01, "--resume")
    assert done.returncode == 0, done.stderr
    assert "298 scored, 0 failed, 2 rejected" in done.stdout
    assert len(read(target)) == 298
    rejected = read(tmp_path / "rejected.jsonl")
    assert [(each["line"], each["input"]) for each in rejected] == [
        (8, str(source)),
        (21, str(source)),
    ]
    assert "missing required field `response`" in rejected[1]["reason"]
    assert names(tmp_path) == {"in.jsonl", "out", "rejected.jsonl"}
    write(source, SAMPLES)
    done = score(*options, "--max_bad_frac", 0.01, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == {"in.jsonl", "out"}


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    about = MadeFrom("dummy", "f")
    draft = open_draft(str(tmp_path / "out"), [], about)
    assert draft is not None
    with pytest.raises(ConfigError, match="another process is writing"):
        open_draft(str(tmp_path / "out"), [], about, resume=True)
    draft.close()


@pytest.mark.parametrize(
    "content",
    [
        "scorers: {dummy: {}}\nnormalization: running",
        "scorers: {duplicates: {config: {remember: 9}}}",
    ],
)
def test_what_depends_on_earlier_samples_cannot_be_gone_on_with(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "running.yaml").write_text(content)
    source = write(tmp_path / "in.jsonl", SAMPLES)
    options = ("--profile", "running", "--profiles_dir", tmp_path, "--input", source)
    done = score(*options, "--output", tmp_path / "out", "--resume")
    assert done.returncode == 2
    assert "scores by earlier samples" in done.stderr
