"""`trainer compare`: runs and evaluations side by side, on a page and at 80 columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import HELD_OUT, KeptSample, SampleWriter

NAME = "a_run_whose_name_is_longer_than_any_column_of_the_table_could_ever_be"


def a_run(folder: Path, learning_rate: float, right: int, of: int = 200) -> Path:
    """Make a training run of 12 updates with this many held-out rows right at the end."""
    folder.mkdir(parents=True)
    history = [{"step": step, "reward": step / 12, "grad_norm": 1.0} for step in range(1, 13)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    fields = {"learning_rate": learning_rate, "seed": 1, "output_dir": str(folder)}
    (folder / "run.json").write_text(json.dumps({"fields": fields}))
    rows = [
        KeptSample(f"t{n}/0", "q", "r", float(n < right), {}, 12, 1.0, f"t{n}", "f")
        for n in range(of)
    ]
    SampleWriter(folder / "samples" / HELD_OUT).write_batch(6, rows[:1])
    SampleWriter(folder / "samples" / HELD_OUT).write_batch(12, rows)
    return folder


def test_runs_are_compared_row_by_row_on_a_page_and_at_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    one, two = a_run(tmp_path / "one", 1e-5, 50), a_run(tmp_path / NAME, 1e-6, 110)
    page = tmp_path / "new" / "page.html"
    assert main(["compare", str(one), str(two), "--output", str(page)]) == 0
    *lines, where = capsys.readouterr().out.splitlines()
    assert where == f"page: {page}"
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in "".join(lines)
    assert NAME in "".join(line.partition(" ")[0] for line in lines)
    [told] = [line for line in lines if "+30.0 [+" in line]
    assert "55.0 [" in told
    text = page.read_text()
    assert not re.search(r"(src|href|srcset)=\"(?!data:)", text)
    assert "1e-06" in text
    assert 'alt="Gradient norm"' in text
    assert ">seed<" not in text  # the same in both
    assert ">output_dir<" not in text


def test_evaluations_are_compared_by_the_rows_both_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rights in (("a", [0, 0, 1, 1]), ("b", [1, 1, 1])):
        (tmp_path / name / "eval").mkdir(parents=True)
        lines = [{"id": str(n), "group": str(n), "reward": float(r)} for n, r in enumerate(rights)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / name / "eval" / "results.jsonl").write_text(text)
    folders = [str(tmp_path / name / "eval") for name in ("a", "b")]
    assert main(["compare", *folders, f"--output={tmp_path / 'page.html'}"]) == 0
    out = capsys.readouterr().out
    assert "a/eval" in out
    assert "b/eval" in out  # told apart by the folder above
    assert "+66.7 [" in out  # rows 0, 1 and 2: from 1 to 3 of 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one"], "two or more folders"),
        (["one", "one"], "given twice"),
        (["one", "empty"], "is not a run: it has neither trainer_state.json"),
        (["one", "two", "--output", "there.html"], "there.html exists"),
        ([], "two or more folders"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "one", 1e-5, 5, 10)
    a_run(tmp_path / "two", 1e-5, 5, 10)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.html").write_text("mine")
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert (tmp_path / "there.html").read_text() == "mine"
    if "there.html" in words:
        assert main(["compare", *words, "--overwrite", "true"]) == 0
        assert "<html" in (tmp_path / "there.html").read_text()
