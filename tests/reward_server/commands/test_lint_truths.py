"""`reward-server lint-truths`: its input, its report and its exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT
from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.scorers.math.lint import KINDS

ROWS = [{"question": "…", "answer": answer} for answer in ["1/2", "3,7", "46", "3,7"]]


def _jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _lint(path: Path, *options: str) -> int:
    return main(["lint-truths", "--input", str(path), *options])


def _report(path: Path, *options: str) -> dict[str, Any]:
    target = path.parent / "made" / "report.json"
    _lint(path, "--report", str(target), *options)
    return json.loads(target.read_text(encoding="utf-8"))


def test_it_counts_shows_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _jsonl(tmp_path / "data.jsonl", ROWS)
    report = _report(path)
    assert (report["column"], report["rows"], report["flagged"]) == ("answer", 4, 2)
    assert (report["share"], report["kinds"]) == (0.5, {"list_or_decimal": 2})
    first = {"row": 2, "ground_truth": "3,7", "kind": "list_or_decimal"}
    assert report["findings"][0].items() >= first.items()
    assert report["findings"][0]["read_as"] == "3, 7"
    printed = capsys.readouterr().out
    assert "2 of 4 ground truths in column 'answer' have a finding (50.00%)" in printed
    assert printed.count("row 2: 3,7") == 1
    assert "row 4" not in printed  # the same text is shown once


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 1),
        (["--max_frac", "0.49"], 1),
        (["--max_frac", "0.5"], 0),
        (["--ignore", "list_or_decimal, unit"], 0),
    ],
)
def test_it_exits_with_1_above_the_share(tmp_path: Path, options: list[str], status: int) -> None:
    assert _lint(_jsonl(tmp_path / "data.jsonl", ROWS), *options) == status


def test_a_clean_file_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _lint(_jsonl(tmp_path / "data.jsonl", [{"ground_truth": 46}])) == 0
    assert "0 of 1 ground truths" in capsys.readouterr().out


def test_a_suggestion_is_printed_and_unprintable_characters_are_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _lint(_jsonl(tmp_path / "data.jsonl", [{"answer": "\x0crac{1}{2}"}]))
    assert "row 1: \\x0crac{1}{2}" in (printed := capsys.readouterr().out)
    assert "write \\frac{1}{2}" in printed


@pytest.mark.parametrize("content", [ROWS, {"version": 1, "data": ROWS}])
def test_json_is_read_as_a_list_or_an_object_with_one(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert _report(path)["rows"] == 4


def test_parquet_is_read_with_lists_and_nested_columns(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"reward_model": {"ground_truth": truth}} for truth in (["1/2", "3,7"], ["46"], None)]
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    report = _report(path)
    assert report["column"] == "reward_model.ground_truth"
    assert report["kinds"] == {"list_or_decimal": 1, "missing": 1}


def test_the_column_is_the_one_named_or_the_first_usual_one(tmp_path: Path) -> None:
    rows = [{"solution": "3,7", "answer": "7", "mine": "\\frac{1}{"}, {"answer": "8"}]
    path = _jsonl(tmp_path / "data.jsonl", rows)
    assert _report(path)["flagged"] == 0
    assert _report(path, "--column", "solution")["kinds"] == {"list_or_decimal": 1, "missing": 1}
    assert _report(path, "--column", "mine")["kinds"] == {"unreadable": 1, "missing": 1}


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("data.jsonl", None, [], "is not a file"),
        ("data.csv", "answer\n1\n", [], "is neither .jsonl, .ndjson, .json nor .parquet"),
        ("data.jsonl", "\n", [], "has no rows"),
        ("data.json", "[]", [], "has no rows"),
        ("data.jsonl", '{"a": 1}\n', [], "it has 'a': name one with --column"),
        ("data.jsonl", '{"a": 1}\n', ["--column", "b"], "has no column 'b'; it has 'a'"),
        ("data.jsonl", '{"answer": 1}\n{"ans', [], "line 2"),
        ("data.jsonl", "[1]\n", [], "expected a JSON object"),
        ("data.json", "{", [], "expected a list of JSON objects"),
        ("data.json", "[1]", [], "is neither a list of JSON objects"),
        ("data.parquet", "x", [], "cannot be read as Parquet"),
        ("data.jsonl", '{"answer": 1}\n', ["--ignore", "units"], "--ignore names 'units'"),
        ("data.jsonl", '{"answer": 1}\n', ["--max_frac", "5"], "expected a share from 0 to 1"),
        ("data.jsonl", '{"answer": 1}\n', ["--profile", "format"], "has no math scorer"),
        ("data.jsonl", '{"answer": 1}\n', ["--profile", "none"], "is not known"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | None,
    options: list[str],
    said: str,
) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert _lint(path, *options) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "reward-server:" in line]
    assert said in line


def test_real_data_has_few_findings(shared_data: Path) -> None:
    report = _report_of(shared_data / "gsm8k_train.jsonl")
    assert (report["rows"], report["flagged"]) == (7473, 0)
    assert _report_of(shared_data / "math500.jsonl")["share"] < 0.02


def _report_of(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "touchstone_rewards.reward_server", "lint-truths"),
            *("--input", str(path), "--report", "/dev/stdout", "--max_frac", "1"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.JSONDecoder().raw_decode(done.stdout)[0]


def test_without_the_server_s_packages_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from touchstone_rewards.reward_server.__main__ import main\n"
        "sys.exit(main(['lint-truths', '--input', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    said = "reward-server: rich is not installed: pip install '.[server]' in the checkout\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_the_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; from touchstone_rewards.reward_server.__main__ import main\n"
        "try:\n    main(['lint-truths', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'fastapi', 'pyarrow', 'numpy'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--max_frac" in done.stdout


def test_the_documentation_has_every_kind() -> None:
    text = (ROOT / "docs/lint.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)) == set(KINDS)
