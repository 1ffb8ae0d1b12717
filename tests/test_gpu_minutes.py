"""`benchmarks.gpu_minutes` keeps to its time, runs the best first, and keeps its findings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_minutes import PARTS, Outcome, Part, main, run_part, run_parts
from tests.waiting import wait_until
from touchstone_rewards.reward_server.pool.family import has_ended


def part(name: str, least_s: float, modules: tuple[str, ...] = ()) -> Part:
    return Part(name, "gpu_tests", (), least_s, modules)


def test_parts_run_in_their_order_and_what_does_not_fit_is_skipped_with_a_reason() -> None:
    left, saved = [100.0], []

    def run(each: Part, left_s: float) -> Outcome:
        assert left_s == left[0]
        left[0] -= 60
        return Outcome("done", None, 60.0, [{"what": each.name}])

    def save(outcomes: Mapping[str, Outcome]) -> None:
        saved.append({name: each.status for name, each in outcomes.items()})

    parts = [part("a", 50), part("b", 50), part("vllm", 1, ("no_such_module",)), part("c", 30)]
    outcomes = run_parts(parts, lambda: left[0], run, save)
    assert {name: each.status for name, each in outcomes.items()} == {
        "a": "done",
        "b": "skipped",
        "vllm": "skipped",
        "c": "done",
    }
    assert outcomes["b"].reason == "40 s left, but it needs at least 50 s"
    assert outcomes["vllm"].reason == "not installed: no_such_module"
    # Written after each part, so that a machine that goes away takes only the part under way.
    assert [len(each) for each in saved] == [1, 2, 3, 4]


CHILD = """
import subprocess, sys, time
rows = next(word for word in sys.argv if word.startswith("--rows="))[7:]
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(6000)"])
with open(rows, "w") as file:
    file.write('{"what": "found", "pid": %d}\\n' % grandchild.pid)
time.sleep(6000)
"""


def test_a_part_that_outlasts_the_time_is_killed_with_its_children_and_its_rows_are_kept(
    tmp_path: Path,
) -> None:
    (tmp_path / "child.py").write_text(CHILD)

    def time_is_up_once_it_has_found_something(
        child: subprocess.Popen[bytes], left_s: float
    ) -> None:
        words = [str(word) for word in child.args]  # pyright: ignore[reportGeneralTypeIssues]
        rows = Path(next(word for word in words if word.startswith("--rows="))[7:])
        wait_until(lambda: rows.is_file() and rows.read_text().endswith("\n"))

    outcome = run_part(
        part("hangs", 1),
        1.0,
        dry=True,
        command=(sys.executable, str(tmp_path / "child.py")),
        wait=time_is_up_once_it_has_found_something,
    )
    assert outcome.status == "stopped"
    [row] = outcome.rows
    assert row["what"] == "found"
    wait_until(lambda: has_ended(row["pid"]))


def test_a_part_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("raise SystemExit('the device is on fire')")
    outcome = run_part(
        part("fails", 1), 600.0, dry=True, command=(sys.executable, str(tmp_path / "child.py"))
    )
    assert (outcome.status, outcome.rows) == ("failed", [])
    assert outcome.reason == "the device is on fire"


def test_without_time_nothing_is_begun_and_the_file_says_so(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    assert main(["--dry_run", "--minutes=0", f"--output={output}"]) == 0
    found = json.loads(output.read_text())
    assert found["rows"] == []
    assert list(found["parts"]) == [each.name for each in PARTS]
    assert {each["status"] for each in found["parts"].values()} == {"skipped"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
def test_a_machine_without_a_gpu_is_told_of_the_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "use --dry_run to run everything at tiny sizes on the CPU" in capsys.readouterr().err
    assert main(["--only", "dancing"]) == 2
    assert "no part dancing; known are tests, " in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_all_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    assert main(["--dry_run", "--minutes=45", f"--output={output}"]) == 0
    found = json.loads(output.read_text())
    for each in PARTS:
        missing = [module for module in each.modules if find_spec(module) is None]
        expected = "skipped" if missing else "done"
        assert found["parts"][each.name]["status"] == expected, found["parts"]
        rows = [row for row in found["rows"] if row["part"] == each.name]
        assert bool(rows) == (not missing), each.name
    rates = [row for row in found["rows"] if "(MFU)" in row["what"]]
    assert rates
    assert all(0 < row["ratio"] < 1 for row in rates)
