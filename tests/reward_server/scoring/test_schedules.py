"""Weights over time, by a step in the metadata or by the clock, and their mention in the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from touchstone_rewards.reward_server.commands.replay import Old, _comparable
from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.profiles import Profile, ProfileConfig, load_profiles
from touchstone_rewards.reward_server.schedules import Schedule, ScheduleConfig
from touchstone_rewards.reward_server.schemas import Sample, SampleResult
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.combine import combine

FAILED = Score(error=sample_error("scorer_failed", "broken"))
STEPS = {"by": "metadata.step", "points": {10: 0.0, 20: 1.0, 40: 0.5}}


def schedule(**config: Any) -> Schedule:
    return Schedule(ScheduleConfig(**{**STEPS, **config}))


def profile(**more: Any) -> Profile:
    scorers = {"dummy": {}, "form": {"scorer": "format", "schedule": STEPS}}
    return Profile("p", ProfileConfig.model_validate({"scorers": scorers, **more}))


def sample(step: Any) -> Sample:
    return Sample("1", "x", metadata={} if step is None else {"step": step})


def rewards(found: list[SampleResult]) -> list[float | None]:
    return [result.reward for result in found]


@pytest.mark.parametrize(
    ("at", "linear", "steps"),
    [
        (0, 0.0, 0.0),
        (10, 0.0, 0.0),
        (15, 0.5, 0.0),
        (20, 1.0, 1.0),
        (30, 0.75, 1.0),
        (99, 0.5, 0.5),
    ],
)
def test_a_weight_goes_in_a_line_or_in_steps(at: float, linear: float, steps: float) -> None:
    assert schedule().weight(at) == linear
    assert schedule(shape="steps").weight(at) == steps


def test_each_sample_has_the_weight_of_its_step_and_the_answer_says_so() -> None:
    samples = [sample(10), sample(15), sample(20)]
    columns = {"dummy": [Score(0.25)] * 3, "form": [Score(0.5)] * 3}
    results = combine(profile(), samples, columns, explain=False).results
    assert rewards(results) == [0.25, 0.5, 0.75]
    assert [each.weights for each in results] == [{"form": 0.0}, {"form": 0.5}, {"form": 1.0}]


def test_metadata_as_it_arrived_is_read() -> None:
    raw = msgspec.Raw(b'{"step": 15.0}')
    samples = [Sample("1", "x", metadata=raw)]  # pyright: ignore[reportArgumentType]
    columns = {"dummy": [Score(0.0)], "form": [Score(1.0)]}
    assert rewards(combine(profile(), samples, columns, explain=False).results) == [0.5]


@pytest.mark.parametrize(
    ("step", "code"),
    [(None, "missing_field"), ("15", "unsupported_input"), (True, "unsupported_input")],
)
def test_without_a_step_there_is_no_reward(step: Any, code: str) -> None:
    timed_out = Score(error=sample_error("deadline_exceeded", "late"), timed_out=True)
    columns = {"dummy": [Score(1.0), timed_out], "form": [Score(1.0)] * 2}
    lenient = profile(on_response_timeout=0.0)
    scored = combine(lenient, [sample(step)] * 2, columns, explain=False)
    for result in scored.results:
        assert (result.status, result.reward) == ("error", None)
        assert result.error is not None
        assert result.error.code == code
        assert "the weight of 'form' depends on metadata.step" in result.error.message
    assert (scored.columns.rewards, scored.columns.errors) == ([None, None], [code, code])


def test_a_scorer_counts_from_the_step_on_where_it_has_a_weight() -> None:
    columns = {"dummy": [Score(0.25)] * 2, "form": [FAILED] * 2}
    results = combine(profile(), [sample(5), sample(11)], columns, explain=False).results
    assert rewards(results) == [0.25, None]
    assert results[1].error == FAILED.error


def test_by_the_clock_all_samples_have_the_weight_of_now() -> None:
    begin = datetime(2026, 11, 30, tzinfo=UTC)
    points = {begin: 0.0, datetime(2026, 12, 1): 1.0}
    text = {"dummy": {"schedule": {"by": "time", "points": points}}}
    clocked = Profile("p", ProfileConfig.model_validate({"scorers": text}))
    columns = {"dummy": [Score(1.0)]}
    now_s = begin.timestamp() + 6 * 3600
    found = combine(clocked, [sample(None)], columns, explain=False, now_s=now_s)
    assert rewards(found.results) == [0.25]
    assert "metadata" not in clocked.info.reads
    # A replay on another day compares with the weights of that time.
    old = Old(sample(None), 0.25, None, {"dummy": 1.0}, "p", "f", weights={"dummy": 0.25})
    new = SampleResult("1", "ok", 1.0, {"dummy": 1.0}, weights={"dummy": 1.0})
    before, after = _comparable(clocked, old, new)
    assert (before.reward, after.reward) == (0.25, 0.25)


def test_a_time_in_quotation_marks_is_a_time() -> None:
    times = {"2026-11-30T00:00:00Z": 0.0, "2026-12-01": 1.0}
    noon_s = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
    assert schedule(by="time", points=times).weight(noon_s) == 0.5


def test_the_fingerprint_is_that_of_the_whole_schedule() -> None:
    assert profile().fingerprint == profile().fingerprint
    other = {"dummy": {}, "form": {"scorer": "format", "schedule": {**STEPS, "shape": "steps"}}}
    changed = Profile("p", ProfileConfig.model_validate({"scorers": other}))
    assert changed.fingerprint != profile().fingerprint
    assert profile().info.schedules == ["metadata.step"]
    assert "metadata" in profile().info.needs


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            "{weight: 1.0, schedule: {by: metadata.step, points: {0: 1}}}",
            "weight and schedule are both set",
        ),
        ("{schedule: {by: step, points: {0: 1}}}", "got 'step'; expected time, or a field"),
        ("{schedule: {by: time, points: {}}}", "points"),
        ("{schedule: {by: metadata.step, points: {0: .nan}}}", "expected finite numbers"),
        ("{schedule: {by: time, points: {soon: 1}}}", "got 'soon'; expected a time, such as"),
        ("{schedule: {by: time, points: {200: 1}}}", "got 200; expected a time, such as"),
        ("{schedule: {by: metadata.step, points: {2026-11-30: 1}}}", "expected numbers"),
    ],
)
def test_a_schedule_that_cannot_be_refuses_to_load(tmp_path: Path, entry: str, says: str) -> None:
    (tmp_path / "p.yaml").write_text(f"scorers: {{dummy: {entry}}}")
    with pytest.raises(ConfigError, match=says):
        load_profiles([tmp_path])
