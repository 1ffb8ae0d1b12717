"""`reward-server replay` on a real server's score log and on a trainer's samples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.checkout import live_server, run_command
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.watching.score_log import (
    MAX_WAITING_BYTES,
    ScoreLog,
    log_files,
)
from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter


def replay(*options: object) -> subprocess.CompletedProcess[str]:
    return run_command("replay", "--workers", 2, *options)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def post(server: LiveServer, samples: list[dict], **fields: object) -> dict:
    body = {"samples": samples, **fields}
    headers = {"x-request-id": "step-7"}
    return httpx2.post(f"{server.url}/score", json=body, headers=headers).json()


SAMPLES = [
    {"id": "right", "response": "So it is 0.5.", "ground_truth": "1/2", "prompt": "A half?"},
    {"id": "wrong", "response": "\\boxed{7}", "ground_truth": "1/2"},
    {"id": "no truth", "response": "\\boxed{7}", "metadata": {"é": [1, None]}},
]


def test_every_scored_sample_is_in_the_log_with_its_result_when_the_server_has_ended(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    path = tmp_path / "logs" / "scores.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"whole": 1}\n{"torn": ')
    server = start_server("--score_log", str(path))
    answers = [post(server, SAMPLES), post(server, SAMPLES[:1], profile="format")]
    metrics = httpx2.get(f"{server.url}/metrics").text
    assert server.stop() == 0
    whole, *logged = lines(path)
    assert whole == {"whole": 1}
    assert [line["sample"] for line in logged] == [*SAMPLES, SAMPLES[0]]
    assert [line["result"] for line in logged] == [r for a in answers for r in a["results"]]
    assert [line["profile"] for line in logged] == ["math"] * 3 + ["format"]
    assert logged[0]["fingerprint"] == answers[0]["fingerprint"]
    assert {line["request_id"] for line in logged} == {"step-7"}
    assert 'reward_score_log_lines_total{outcome="dropped"} 0.0' in metrics


def answered(count: int, text: str = "x") -> tuple[ScoreRequest, ScoreResponse]:
    samples = [Sample(str(at), text) for at in range(count)]
    results = [SampleResult(each.id, "ok", 1.0, {}) for each in samples]
    return ScoreRequest(samples), ScoreResponse(results, "math", "f", 1.0)


def test_the_log_is_rotated_and_so_many_files_are_kept(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "scores.jsonl", max_bytes=2000, files=3)
    log.start()
    for _ in range(40):
        log.take(*answered(2))
    log.close()
    files = log_files(log.path)
    assert [path.name for path in files] == ["scores.jsonl.2", "scores.jsonl.1", "scores.jsonl"]
    assert all(path.stat().st_size <= 2000 and lines(path) for path in files)
    assert files[-1].stat().st_mode & 0o777 == 0o600
    assert log.counts == {"written": 80, "dropped": 0}


def test_what_the_log_cannot_keep_up_with_is_dropped_and_counted(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "scores.jsonl", max_bytes=2**30, files=2)
    large = answered(8, "x" * (MAX_WAITING_BYTES // 8 - 2000))
    log.take(*large)
    log.take(*answered(8, "x" * 5000))  # the thread does not run yet
    log.start()
    log.close()
    [reading] = log.readings()
    assert reading.read() == {"written": 8, "dropped": 8}
    assert len(lines(log.path)) == 8


def test_lines_that_cannot_be_written_are_counted_and_later_ones_are_whole(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = ScoreLog(folder / "scores.jsonl", max_bytes=2**20, files=2)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    log.take(*answered(3))
    log.start()
    log.close()
    assert log.counts == {"written": 0, "dropped": 3}


def test_long_prompts_do_not_wait_for_the_log_without_bound(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "scores.jsonl", max_bytes=2**40, files=2)
    for _ in range(500):  # 100 MB, and the thread does not run
        request, answer = answered(1)
        request.samples[0].prompt = "p" * 200_000
        log.take(request, answer)
    [reading] = log.readings()
    assert 150 <= reading.read()["dropped"] <= 200


def test_a_rotation_that_fails_closes_no_other_file_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = ScoreLog(tmp_path / "scores.jsonl", max_bytes=300, files=2)
    others: list[int] = []

    def refuse(self: Path, target: Path) -> Path:
        # Another thread opens something: it gets the lowest number that is free.
        others.append(os.open(os.devnull, os.O_RDONLY))
        raise PermissionError(13, "not here")

    log.take(*answered(1))
    monkeypatch.setattr(Path, "replace", refuse)
    log.take(*answered(3))
    log.take(*answered(3))
    log.start()
    log.close()
    assert log.counts == {"written": 1, "dropped": 6}
    assert "not here" in caplog.text
    assert len(others) == 2
    for other in others:
        os.close(other)  # raises where someone has closed it already


def test_a_log_that_cannot_be_written_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"scores\.jsonl cannot be written"):
        ScoreLog(tmp_path / "file" / "scores.jsonl", 2**20, 2)


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    server = live_server(folder / "server.log", "--score_log", str(folder / "scores.jsonl")).start()
    many = [
        {"id": str(at), "response": f"\\boxed{{{at}.0}}", "ground_truth": str(at % 3)}
        for at in range(2000)
    ]
    post(server, many)
    post(server, SAMPLES)
    post(server, SAMPLES, profile="format")
    assert server.stop() == 0
    return folder / "scores.jsonl"


def test_the_same_profile_changes_nothing(log_path: Path) -> None:
    done = replay("--input", log_path, "--profile", "math", "--fail_on_change")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2003 scored again by math, 0 changed" in done.stdout
    assert "3 skipped, scored by format: give --profile format" in done.stdout


def test_another_profile_shows_what_would_change_and_why(log_path: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changes.jsonl"
    options = ("--profile", "math_strict", "--from_profile", "math", "--output", changed)
    done = replay("--input", log_path.parent, *options, "--fail_on_change")
    assert done.returncode == 1
    assert "2003 scored again by math_strict, 1 changed" in done.stdout
    [change] = lines(changed)
    assert (change["id"], change["old"], change["new"]) == ("right", 1.0, 0.0)
    assert change["explanation"]["math"]["answer"] is None  # only a box counts
    assert change["old_fingerprint"] != change["new_fingerprint"]
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["0", "1998", "0", "0"] in table  # errors and wrong answers stay
    assert ["1", "1", "3", "0"] in table
    assert ["bad_ground_truth", "0", "0", "1"] in table


def test_a_trainers_samples_are_replayed_in_the_order_of_the_steps(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path)
    for step, (reward, code) in {2: (0.0, None), 10: (None, "unavailable"), 1: (1.0, None)}.items():
        error = {"code": code, "message": "", "retryable": True} if code else None
        turns = [{"role": "user", "content": "1 + 1?"}]
        about = {"ground_truth": "2", "error": error, "metadata": {"k": 1}}
        sample = (f"s{step}", turns, "\\boxed{2}", reward, {}, step, 0.0, "g", None)
        writer.write_batch(step, [KeptSample(*sample, **about)])
    with (tmp_path / "samples_step_10.jsonl").open("a") as file:
        file.write('{"id": "torn')
    done = replay("--input", tmp_path, "--profile", "math")
    assert done.returncode == 0, done.stderr
    assert "3 scored again by math, 2 changed" in done.stdout
    changes = [line for line in done.stdout.splitlines() if " -> " in line]
    assert changes[0].startswith("s2: 0 -> 1  {")
    assert changes[1].startswith("s10: unavailable -> 1  {")


def test_the_signals_that_a_trainer_kept_are_scored_again(tmp_path: Path) -> None:
    part = "{scorer: story, config: {part: logprob_gain}}"
    (tmp_path / "gain.yaml").write_text(f"scorers: {{gain: {part}}}\n")
    signals = {"logprob_gain": -1.0, "history_tokens": 5}
    sample = KeptSample("1", "p", "r", 0.0, {}, 1, 0.0, "g", None, signals=signals)
    SampleWriter(tmp_path / "samples").write_batch(1, [sample])
    flags = ["--profile", "gain", "--profiles_dir", tmp_path]
    done = replay("--input", tmp_path / "samples", *flags)
    assert "1 scored again by gain, 0 changed" in done.stdout, done.stderr


def test_rewards_of_running_normalization_are_compared_before_it(tmp_path: Path) -> None:
    (tmp_path / "math.yaml").write_text("scorers: {math: {weight: 2}}\nnormalization: running\n")
    log = tmp_path / "scores.jsonl"
    old = {"id": "1", "status": "ok", "reward": -0.7, "scores": {"math": 1.0}}
    line = {"time": 0, "request_id": "", "profile": "math", "fingerprint": "f", "result": old}
    sample = {"id": "1", "response": "\\boxed{2}", "ground_truth": "2"}
    log.write_text(json.dumps({**line, "sample": sample}) + "\n")
    done = replay("--input", log, "--profile", "math", "--profiles_dir", tmp_path)
    assert "1 scored again by math, 0 changed" in done.stdout, done.stderr


def test_scores_that_depend_on_earlier_answers_stay_as_they_were(tmp_path: Path) -> None:
    scorers = "{copies: {scorer: duplicates, config: {remember: 9}}, form: {scorer: format}}"
    (tmp_path / "p.yaml").write_text(f"scorers: {scorers}\n")
    log = tmp_path / "scores.jsonl"
    text = " ".join(f"word{n}" for n in range(40))
    with log.open("w") as file:
        # The log begins after the answer that the first one resembled, and form was 1 then.
        for n, (copies, form) in enumerate([(-0.5, 0.0), (0.0, 0.0), (0.0, 1.0)]):
            scores = {"copies": copies, "form": form}
            result = {"id": str(n), "status": "ok", "reward": copies + form, "scores": scores}
            about = {"time": 0, "request_id": str(n), "profile": "p", "fingerprint": "f"}
            sample = {"id": str(n), "response": text, "prompt": f"{n}", "group_id": f"{n}"}
            file.write(json.dumps({**about, "result": result, "sample": sample}) + "\n")
    done = replay("--input", log, "--profile", "p", "--profiles_dir", tmp_path)
    assert "3 scored again by p, 1 changed" in done.stdout, done.stderr
    assert "2: 1 -> 0  {" in done.stdout
    assert "scores of copies depend on earlier responses, so the old ones were kept" in done.stdout


def test_what_is_no_log_is_one_clear_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "1", "response": 5}\n')
    for path, complaint in [
        (bad, "bad.jsonl, line 1: "),
        (tmp_path / "none", "none is neither a file nor a folder"),
    ]:
        done = replay("--input", path)
        assert done.returncode == 2
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr


def test_replay_empties_neither_its_input_nor_an_output_that_exists(
    log_path: Path, tmp_path: Path
) -> None:
    log = tmp_path / "scores.jsonl"
    log.write_bytes(log_path.read_bytes())
    (tmp_path / "link.jsonl").symlink_to(log)
    (tmp_path / "changes.jsonl").write_text("precious\n")
    for output, complaint in [
        (log, "is the input"),
        (tmp_path / "link.jsonl", "is the input"),
        (tmp_path / "changes.jsonl", "exists; --overwrite replaces it"),
    ]:
        done = replay("--input", log, "--output", output)
        assert done.returncode == 2
        assert complaint in done.stderr
    assert log.read_bytes() == log_path.read_bytes()
    assert (tmp_path / "changes.jsonl").read_text() == "precious\n"
    options = ("--input", log, "--output", tmp_path / "changes.jsonl", "--overwrite")
    assert replay(*options).returncode == 0
    assert (tmp_path / "changes.jsonl").read_text() == ""
    assert not list(tmp_path.glob("*.partial*"))
