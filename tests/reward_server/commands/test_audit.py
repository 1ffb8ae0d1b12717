"""`reward-server audit` and `card` on rewards with known holes and on our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import live_server
from tests.reward_server.remote.engine_process import EngineProcess
from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.live_server import LiveServer

ROWS = [
    {"question": f"What is {a} plus {b}?", "answer": f"{a} + {b} is it.\n#### {a + b}"}
    for a, b in [(15, 27), (40, 6), (1200, 34), (7, 70), (300, 11), (90, 83)]
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "rows.jsonl", ROWS)


def audited(
    rows: Path, output: Path, *options: object, profile: str = "", status: int = 0
) -> dict[str, Any]:
    """Audit a profile of one scorer, or `math`, and return the report."""
    words = ["audit", "--input", rows, "--output", output, "--workers", 1, *options]
    if profile:
        folder = output.with_name(f"{output.name} profiles")
        folder.mkdir()
        (folder / "mine.yaml").write_text(profile, encoding="utf-8")
        words += ["--profile", "mine", "--profiles_dir", folder]
    assert main([str(word) for word in words]) == status
    return json.loads((output / "audit.json").read_text(encoding="utf-8"))


def accepted(report: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: each["accepted"]["share"] for each in report["strategies"]}


def test_math_is_within_the_thresholds_and_finds_every_spelling(rows: Path, tmp_path: Path) -> None:
    report = audited(rows, tmp_path / "out")
    assert (report["failed"], report["form"], report["rows_in_file"]) == ([], "boxed", 6)
    assert max(accepted(report).values()) == 0
    assert len(report["strategies"]) > 40
    assert all(each["refused"]["share"] == 0 for each in report["rewritings"])
    assert {each["kind"] for each in report["rewritings"]} == {"spelling", "wrapping"}
    assert report["combination"]["right_in_form"] == 1
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "one more" in page
    assert "Within every threshold" in page


def test_a_substring_match_is_found_out(rows: Path, tmp_path: Path) -> None:
    plain = [{**row, "answer": row["answer"].split()[-1]} for row in ROWS]
    write_lines(rows, plain)
    hole = "scorers: {contains: {}}"
    report = audited(rows, tmp_path / "out", profile=hole, status=1)
    shares = accepted(report)
    assert shares["answers of many rows"] == 1
    assert shares["right or wrong"] == 1
    assert shares["one more"] == shares["empty"] == 0
    assert report["strategies"][0]["accepted"]["share"] == 1
    assert any(said.startswith("accepted: answers of many rows") for said in report["failed"])


def test_a_judge_that_agrees_with_everything_is_found_out(rows: Path, tmp_path: Path) -> None:
    engine = EngineProcess()
    engine.start()
    judge = (
        f"scorers: {{judge: {{config: {{url: 'http://127.0.0.1:{engine.port}/v1', model: m}}}}}}"
    )
    few = ("--rows", 1, "--strategies", "empty,attack")
    try:
        report = audited(rows, tmp_path / "out", *few, profile=judge, status=1)
    finally:
        engine.kill()
    assert {each["family"] for each in report["strategies"]} == {"empty", "attack"}
    assert report["strategies"][0]["accepted"]["share"] == 1
    assert "Verdict: yes" in report["strategies"][0]["examples"][0]["explanation"]
    assert "judge alone earns 1 of the 1" in report["combination"]["warnings"][-1]
    assert report["cost"]["codes"] == {}


def test_form_alone_that_pays_half_is_warned_of(rows: Path, tmp_path: Path) -> None:
    summed = "scorers: {format: {config: {style: think_answer}}, math: {weight: 0.5}}"
    report = audited(rows, tmp_path / "out", profile=summed)
    whole = report["combination"]
    assert whole["right_in_form"] == 1.5
    assert whole["form_only"] == whole["cheapest_gain"] == 1
    assert whole["cheapest"] == "format"
    assert any("form without an answer earns 1" in said for said in whole["warnings"])


def test_what_is_wrong_with_the_rows_is_listed(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        ROWS[0],
        {**ROWS[1], "answer": "#### 47"},
        {"question": "?", "answer": {"a": [{}]}},
    ]
    report = audited(write_lines(tmp_path / "rows.jsonl", rows), tmp_path / "out", status=1)
    kinds = {each["kind"]: each["share"]["count"] for each in report["data"]}
    assert kinds["duplicate"] == 2
    assert kinds["contradictory"] == 2
    assert kinds["constant_wins"] == 2
    assert kinds["unscored"] == 1
    assert report["failed"] == [
        "unscored: not scored: bad_ground_truth, 1 of 9 (11.1%), more than 5.0%"
    ]


def test_labels_give_error_rates_with_intervals(rows: Path, tmp_path: Path) -> None:
    responses = [
        ("\\boxed{42}", "yes"),
        ("\\boxed{41}", "no"),
        ("it is 42", "no"),
        ("x", "unclear"),
    ]
    labelled = [{"response": r, "ground_truth": "42", "label": label} for r, label in responses]
    path = write_lines(tmp_path / "labelled.jsonl", labelled)
    limits = "false_positive=0.4"
    report = audited(rows, tmp_path / "out", "--labelled", path, "--fail_on", limits, status=1)
    [rate] = [
        each
        for each in report["error_rates"]
        if each["scorer"] == "reward" and each["among"] == "all"
    ]
    assert (rate["false_positive"]["count"], rate["false_positive"]["of"]) == (1, 2)
    assert (rate["false_negative"]["count"], rate["false_negative"]["of"]) == (0, 1)
    # Wilson's interval of 1 in 2: (1 + z²/2 ± z √(1/2 + z²/4)) / (2 + z²), z = 1.95996.
    assert rate["false_positive"]["low"] == pytest.approx(0.0945, abs=1e-4)
    assert rate["false_positive"]["high"] == pytest.approx(0.9055, abs=1e-4)
    assert {each["among"] for each in report["error_rates"]} == {
        "all", "a number", "under 200 characters"
    }  # fmt: skip
    assert len(report["failed"]) == 1


def test_a_start_models_groups_without_variance_are_counted(rows: Path, tmp_path: Path) -> None:
    groups = {"a": ["\\boxed{1}", "\\boxed{2}"], "b": ["\\boxed{1}"] * 2, "c": ["\\boxed{3}"] * 2}
    samples = [
        {"id": f"{name}{at}", "group_id": name, "response": response, "ground_truth": "1"}
        for name, of in groups.items()
        for at, response in enumerate(of)
    ]
    path = write_lines(tmp_path / "samples.jsonl", samples)
    report = audited(rows, tmp_path / "out", "--samples", path)
    assert report["combination"]["groups"]["count"] == 2
    assert report["combination"]["groups"]["of"] == 3
    assert any("2 of 3 groups" in said for said in report["combination"]["warnings"])


@pytest.fixture
def logged(tmp_path: Path, rows: Path) -> Path:
    """Start a server, score four samples of the profile `math`, and return its score log."""
    log = tmp_path / "log.jsonl"
    server = live_server(tmp_path / "server.log", "--score_log", str(log), "--workers", "1").start()
    samples = [
        {"id": str(at), "response": text, "ground_truth": "42", "prompt": "What is 15 plus 27?"}
        for at, text in enumerate(["\\boxed{42}", "The answer is 42.", "42", "\\boxed{41}"])
    ]
    try:
        post(server, samples)
    finally:
        server.stop()
    return log


def post(server: LiveServer, samples: list[dict[str, Any]]) -> None:
    import httpx2

    answer = httpx2.post(f"{server.url}/score", json={"samples": samples})
    assert answer.status_code == 200


def test_disagreements_become_lines_to_label_that_can_be_fed_back(
    rows: Path, logged: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = audited(rows, out, "--log", logged, "--against", "math_strict")
    assert report["agreement"]["agree"]["count"] == 2
    lines = [json.loads(line) for line in (out / "to_label.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["1", "2"]
    assert all(line["verdicts"] == [1, 0] and line["label"] is None for line in lines)
    labelled = write_lines(tmp_path / "done.jsonl", [{**line, "label": "yes"} for line in lines])
    again = audited(rows, tmp_path / "again", "--labelled", labelled)
    assert again["error_rates"][0]["false_negative"]["of"] == 2


def test_a_server_that_runs_is_audited_alike(
    rows: Path, server: LiveServer, tmp_path: Path
) -> None:
    here = audited(rows, tmp_path / "here")
    there = audited(rows, tmp_path / "there", "--url", server.url)
    for name in ("fingerprint", "form", "forms", "combination"):
        assert here[name] == there[name]
    assert accepted(here) == accepted(there)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fail_on", "free=0.1"], "--fail_on has 'free=0.1'; expected NAME=SHARE"),
        (["--fail_on", "accepted=2"], "--fail_on has 'accepted=2'"),
        (["--strategies", "magic"], "--strategies names 'magic'; the families are empty, "),
        (["--against", "math_strict"], "--against compares verdicts on a score log"),
        (["--rows", "0"], "--rows is 0"),
        (["--profile", "nope"], "profile 'nope' is not known"),
        (["--labelled", "/nowhere.jsonl"], "labelled /nowhere.jsonl is not a file"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str],
    said: str,
    rows: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["audit", "--input", str(rows), "--output", str(tmp_path / "o"), *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_an_audit_replaces_nothing_unasked_and_needs_a_right_answer(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audited(rows, tmp_path / "out", "--strategies", "empty")
    again = ["audit", "--input", str(rows), "--output", str(tmp_path / "out")]
    assert main(again) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    bare = write_lines(tmp_path / "bare.jsonl", [{"question": "Why?"}])
    assert main(["audit", "--input", str(bare), "--output", str(tmp_path / "o")]) == 2
    assert "no right answer got a reward" in capsys.readouterr().err


def test_texts_of_the_data_are_escaped_in_the_page(tmp_path: Path) -> None:
    row = {"question": "<script>alert(1)</script>", "answer": "46"}
    out = tmp_path / "out"
    audited(write_lines(tmp_path / "rows.jsonl", [row, *ROWS]), out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_card_cites_the_audit_and_a_log_is_held_against_it(
    rows: Path, logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audited(rows, tmp_path / "out")
    card, about = tmp_path / "card.json", ["--audit", str(tmp_path / "out" / "audit.json")]
    assert main(["card", *about, "--data", str(rows), "--output", str(card)]) == 0
    printed = capsys.readouterr().out
    held = json.loads(card.read_text(encoding="utf-8"))
    assert held["fingerprint"] in printed
    assert held["data_sha256"] in printed
    assert held["audit"]["rows"] == 6
    assert main(["replay", "--input", str(logged), "--card", str(card), "--workers", "1"]) == 0
    strict = ["replay", "--input", str(logged), "--profile", "math_strict", "--workers", "1"]
    assert main([*strict, "--from_profile", "math", "--card", str(card)]) == 1
    assert "the card is of math" in capsys.readouterr().err
    assert main(["card", "--profile", "math_strict", *about]) == 2
    assert "run the audit again" in capsys.readouterr().err
