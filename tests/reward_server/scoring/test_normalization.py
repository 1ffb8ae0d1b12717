"""Rewards from scores: clipped, normalized by earlier rewards, and the same after a restart."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import pytest

from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import Profile, ProfileConfig
from touchstone_rewards.reward_server.schemas import SampleResult
from touchstone_rewards.reward_server.scoring.normalization import (
    MEMORY,
    Normalizers,
    RunningMoments,
)

RUNNING = "scorers: {dummy: {weight: 100}}\nnormalization: running\n"


def ask(server: LiveServer, responses: Sequence[str], **fields: object) -> dict:
    samples = [{"id": str(at), "response": text} for at, text in enumerate(responses)]
    body = {"profile": "mine", "samples": samples, **fields}
    return httpx2.post(f"{server.url}/score", json=body).json()


def rewards(answer: dict) -> list[float]:
    return [result["reward"] for result in answer["results"]]


def test_a_reward_is_normalised_by_the_mean_and_deviation_of_all_before_it() -> None:
    running = RunningMoments("f")
    running.count_in([1.0, 3.0])
    running.count_in([8.0])
    assert running.mean == 4.0
    assert running.variance == pytest.approx(26 / 3)  # (9 + 1 + 16) / 3
    assert running.normalised(8.0) == pytest.approx(4 / (26 / 3) ** 0.5)


def test_while_all_rewards_are_the_same_the_deviation_counts_as_one() -> None:
    running = RunningMoments("f")
    running.count_in([0.5] * 9)
    assert [running.normalised(value) for value in (0.5, 2.5)] == [0.0, 2.0]


def test_old_rewards_fade() -> None:
    running = RunningMoments("f", count=MEMORY, mean=0.0, variance=1.0)
    running.count_in([10.0] * (3 * MEMORY))
    assert running.count == MEMORY
    assert running.mean == pytest.approx(10 * (1 - 2.718281828**-3), rel=1e-3)


def test_the_reward_is_normalised_then_clipped_and_the_scores_stay_raw(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    (tmp_path / "mine.yaml").write_text(RUNNING + "clip: [-1, 1.25]\n")
    server = start_server("--profiles_dir", str(tmp_path))
    answer = ask(server, [str(at) for at in range(50)])
    sums = [100 * result["scores"]["dummy"] for result in answer["results"]]
    mean, std = statistics.fmean(sums), statistics.pstdev(sums)
    expected = [min(max((value - mean) / std, -1), 1.25) for value in sums]
    assert rewards(answer) == pytest.approx(expected)
    assert {-1, 1.25} < set(rewards(answer))


def test_the_running_numbers_outlive_a_restart_and_evaluation_does_not_move_them(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text(RUNNING)
    options = ("--profiles_dir", tmp_path / "profiles", "--state_dir", tmp_path / "state")
    server = start_server(*map(str, options))
    ask(server, ["a", "b", "c", "d"])
    before = ask(server, ["e", "f"], priority="eval")
    assert server.stop() == 0
    assert [path.name for path in (tmp_path / "state" / "normalization").iterdir()] == ["mine.json"]
    server.restart()
    after = ask(server, ["e", "f"], priority="eval")
    assert rewards(after) == rewards(before) != rewards(ask(server, ["e", "f"]))
    assert after["fingerprint"] == before["fingerprint"]
    assert after["fingerprint"].endswith("-running")


def profile(**more: object) -> Profile:
    content = {"scorers": {"dummy": {}}, "normalization": "running", **more}
    return Profile("mine", ProfileConfig.model_validate(content))


def result(reward: float | None) -> SampleResult:
    return SampleResult("1", "ok" if reward is not None else "error", reward, {})


def test_a_reward_that_is_null_stays_null_and_is_not_counted(tmp_path: Path) -> None:
    normalizers, results = Normalizers(tmp_path), [result(None), result(2.0), result(4.0)]
    normalizers.apply(profile(), results, learn=True)
    assert [each.reward for each in results] == [None, -1.0, 1.0]
    assert normalizers.of(profile()).count == 2


def test_a_changed_profile_begins_anew(tmp_path: Path) -> None:
    normalizers = Normalizers(tmp_path)
    normalizers.apply(profile(), [result(2.0)], learn=True)
    normalizers.save(normalizers.unsaved({"mine": profile()}))
    again = Normalizers(tmp_path)
    again.load({"mine": profile()})
    assert again.of(profile()).count == 1
    assert again.of(profile(clip=[0, 1])).count == 0


@pytest.mark.parametrize("learn", [True, False])
def test_a_request_that_was_in_flight_across_a_reload_wipes_nothing(
    tmp_path: Path, learn: bool
) -> None:
    normalizers, old, new = Normalizers(tmp_path), profile(), profile(clip=[0, 1])
    normalizers.apply(old, [result(1.0)], learn=True)
    normalizers.apply(new, [result(2.0)] * 5000, learn=True)
    normalizers.apply(old, [result(3.0)], learn=learn)
    assert normalizers.of(new).count == 5000
    assert normalizers.of(old).count == 1 + learn
    normalizers.save(normalizers.unsaved({"mine": new}))
    again = Normalizers(tmp_path)
    again.load({"mine": new})
    assert (again.of(new).count, again.of(old).count) == (5000, 0)


def test_evaluation_alone_leaves_no_numbers_behind(tmp_path: Path) -> None:
    normalizers = Normalizers(tmp_path)
    normalizers.apply(profile(), [result(2.0)], learn=False)
    assert not normalizers.running
    assert not normalizers.unsaved({"mine": profile()})


def test_a_reload_does_not_put_older_numbers_from_disk_over_those_in_memory(
    tmp_path: Path,
) -> None:
    normalizers, old, new = Normalizers(tmp_path), profile(), profile(clip=[0, 1])
    normalizers.apply(old, [result(2.0)], learn=True)
    normalizers.save(normalizers.unsaved({"mine": old}))
    normalizers.apply(old, [result(2.0)], learn=True)
    normalizers.load({"mine": new})
    assert normalizers.of(old).count == 2


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "\xff",
        '{"fingerprint": "f", "count": 3, "mean": 1e308, "variance": null}',
        '{"fingerprint": "f", "count": -1, "mean": 0, "variance": 1}',
        '{"fingerprint": "f", "count": 3, "mean": 0, "variance": -1}',
        '{"fingerprint": "f", "count": 3, "mean": 0, "variance": 1e300}',
        '{"fingerprint": "f", "count": 1000000000, "mean": 0, "variance": 1}',
    ],
)
def test_a_bad_state_file_is_set_aside_with_a_warning(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "normalization"
    folder.mkdir()
    (folder / "mine.json").write_text(content, encoding="latin-1")
    normalizers = Normalizers(tmp_path)
    normalizers.load({"mine": profile()})
    assert normalizers.of(profile()) == RunningMoments(profile().fingerprint)
    [aside] = folder.iterdir()
    assert aside.name.startswith("mine.json.bad-")
    assert aside.read_text(encoding="latin-1") == content
    assert "starts anew" in caplog.text


def test_one_huge_reward_is_an_error_and_moves_no_other() -> None:
    normalizers = Normalizers()
    normalizers.apply(profile(), [result(1.0), result(3.0)], learn=True)
    results = [result(1e300), result(3.0)]
    normalizers.apply(profile(), results, learn=True)
    assert (results[0].status, results[0].reward) == ("error", None)
    assert results[0].error is not None
    assert results[0].error.code == "scorer_failed"
    assert "1e+300" in results[0].error.message
    assert normalizers.of(profile()).mean == pytest.approx(7 / 3)
