"""`reward-server check`: the configuration works, or the exit status says that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reward_server.models import tiny
from tests.reward_server.remote.engine_process import EngineProcess
from touchstone_rewards.reward_server.__main__ import main
from touchstone_rewards.reward_server.commands import check


def profiles(folder: Path, text: str) -> list[str]:
    (folder / "mine").mkdir()
    (folder / "mine" / "mine.yaml").write_text(text)
    return ["--profiles_dir", str(folder / "mine"), "--workers", "1"]


def test_the_built_in_profiles_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "profile math" in said
    assert "rewards 1, 0, 0" in said


def test_a_reward_model_is_held_against_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.classifier(tmp_path / "judge")
    options = profiles(
        tmp_path, f"scorers: {{reward_model: {{config: {{model: {tmp_path}/judge}}}}}}"
    )
    assert main(["check", *options]) == 0
    said = capsys.readouterr().out
    assert "model judge" in said
    assert "parity_drift" in said


def test_a_model_may_differ_by_what_its_own_self_test_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "HALF_PRECISION_TOLERANCE", 0.0)
    tiny.classifier(tmp_path / "judge")
    options = profiles(
        tmp_path,
        f"scorers: {{reward_model: {{config: {{model: {tmp_path}/judge, dtype: bfloat16}}}}}}",
    )
    assert main(["check", *options]) == 0


def test_a_model_that_cannot_be_served_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.language_model(tmp_path / "judge")
    options = profiles(
        tmp_path, f"scorers: {{reward_model: {{config: {{model: {tmp_path}/judge}}}}}}"
    )
    assert main(["check", *options]) == 1
    assert "has no head" in capsys.readouterr().out.replace("\n", " ")


def test_samples_of_ones_own_can_be_checked_and_a_failure_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text('{"id": "good", "response": "46", "ground_truth": "46"}\n')
    assert main(["check", "--workers", "1", "--input", str(samples)]) == 0
    samples.write_text('{"id": "unreadable", "response": "46"}\n')
    assert main(["check", "--workers", "1", "--input", str(samples)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_profile_of_groups_is_checked_in_two_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scorers = "scorers: {copies: {scorer: duplicates, config: {remember: 9}}, math: {}}\n"
    options = profiles(tmp_path, f"{scorers}groups: {{size: 8, deadline_s: 600}}")
    assert main(["check", *options]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "profile mine rewards 1, 0, 0; the group in two orders differs by 0" in said


def test_input_that_is_not_there_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--input", "/nowhere.jsonl"]) == 2
    assert "is not a file" in capsys.readouterr().err


CASCADE = """
scorers:
  math: {}
  judge: {when: {math: undecided}, replaces: math, deadline_s: 2, config: {url: "URL", model: m}}
"""


def test_a_scorer_that_runs_for_some_samples_is_tried_on_all_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = EngineProcess()
    engine.start()
    options = profiles(tmp_path, CASCADE.replace("URL", f"http://127.0.0.1:{engine.port}/v1"))
    assert main(["check", *options]) == 0
    assert "asked for every sample: 1, 1, 1" in capsys.readouterr().out
    engine.kill()
    assert main(["check", *options]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said
    assert "profile mine, judge" in said
    assert "upstream_failed" in said


def test_a_profile_that_reads_some_languages_only_is_checked_with_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--workers", "1", "--neural_profiles"]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "reads English" in " ".join(said.split())
