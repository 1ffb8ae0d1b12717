from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import (
    Profile,
    ProfileConfig,
    load_profile,
    load_profiles,
)
from touchstone_rewards.reward_server.schemas import Sample, SampleResult
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.combine import combine
from touchstone_rewards.reward_server.settings import load_settings

FAILED = Score(error=sample_error("scorer_failed", "broken"))


def profile(**scorers: dict) -> Profile:
    return Profile("test", ProfileConfig.model_validate({"scorers": scorers}))


def test_the_built_in_profiles_are_there() -> None:
    profiles = load_profiles()
    assert {"math", "format", "dummy", "r1_zero"} <= set(profiles)
    assert profiles["math"].info.ranges == {"math": (0.0, 1.0), "format": (0.0, 1.0)}


def test_the_reward_is_the_weighted_sum_of_the_scores() -> None:
    mixed = profile(dummy={"weight": 2}, format={"weight": -0.5})
    assert mixed.reward({"dummy": Score(0.25), "format": Score(0.5)}) == (0.25, None)  # .5 - .25


def test_a_score_below_its_gate_makes_the_reward_zero() -> None:
    gated = profile(dummy={}, format={"weight": 0, "gate_below": 1.0})
    assert gated.reward({"dummy": Score(0.7), "format": Score(1.0)}) == (0.7, None)
    assert gated.reward({"dummy": Score(0.7), "format": Score(0.5)}) == (0.0, None)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_scorer_that_counts_and_fails_makes_the_reward_null(value: float) -> None:
    gated = profile(dummy={}, format={"weight": 0, "gate_below": 1.0})
    assert gated.reward({"dummy": FAILED, "format": Score(value)}) == (None, FAILED.error)
    assert gated.reward({"dummy": Score(1.0), "format": FAILED}) == (None, FAILED.error)


def test_a_scorer_of_weight_zero_that_fails_leaves_the_reward_alone() -> None:
    reporting = profile(dummy={}, format={"weight": 0})
    assert reporting.reward({"dummy": Score(0.7), "format": FAILED}) == (0.7, None)


def test_one_scorer_may_stand_twice_under_different_keys() -> None:
    twice = profile(
        loose={"scorer": "format"}, strict={"scorer": "format", "config": {"style": "r1_zero"}}
    )
    assert twice.info.scorers == ["loose", "strict"]


def test_the_fingerprint_changes_with_what_changes_rewards_and_with_nothing_else() -> None:
    def fingerprint(**scorers: dict) -> str:
        return profile(**scorers).fingerprint

    base = fingerprint(format={"weight": 1})
    assert base == fingerprint(format={"weight": 1.0})
    assert len(base) == 12
    described = {"description": "other words", "scorers": {"format": {"weight": 1}}}
    assert base == Profile("other", ProfileConfig.model_validate(described)).fingerprint
    others = [
        fingerprint(format={"weight": 2}),
        fingerprint(format={"gate_below": 0.5}),
        fingerprint(format={"config": {"style": "r1_zero"}}),
        fingerprint(other={"scorer": "format"}),
        fingerprint(dummy={}),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_clip_and_normalization_change_the_fingerprint_and_a_shadow_does_not() -> None:
    def fingerprint(**more: object) -> str:
        content = {"scorers": {"format": {}}, **more}
        return Profile("test", ProfileConfig.model_validate(content)).fingerprint

    plain = fingerprint()
    assert plain == fingerprint(clip=None, normalization="none", shadow="math")
    assert len({plain, fingerprint(clip=[0, 1]), fingerprint(normalization="running")}) == 3
    assert fingerprint(normalization="running").endswith("-running")


def test_the_clip_is_the_last_word_also_behind_a_closed_gate() -> None:
    content = {"scorers": {"dummy": {"weight": 4, "gate_below": 0.25}}, "clip": [0.5, 2]}
    clipped = Profile("test", ProfileConfig.model_validate(content))
    sums = [clipped.reward({"dummy": Score(value)})[0] for value in (0.2, 0.3, 0.9)]
    assert [clipped.clipped(value) for value in sums if value is not None] == [0.5, 1.2, 2.0]


TIMED_OUT = Score(error=sample_error("deadline_exceeded", "took more than 5 s"), timed_out=True)
NOT_BEGUN = Score(error=sample_error("deadline_exceeded", "not begun", retryable=True))


def rewarded(*columns: Score, **more: object) -> SampleResult:
    """Return the result of one sample under a profile of two scorers that count."""
    content = {"scorers": {"dummy": {}, "format": {"weight": 2}}, **more}
    made = Profile("test", ProfileConfig.model_validate(content))
    scores = dict(zip(made.scorers, ([score] for score in columns), strict=True))
    [result] = combine(made, [Sample("1", "x")], scores, explain=True).results
    return result


def test_a_response_that_hangs_is_null_unless_the_profile_says_what_it_is_worth() -> None:
    assert rewarded(TIMED_OUT, Score(1.0)).reward is None
    worth = rewarded(TIMED_OUT, Score(1.0), on_response_timeout=-0.5)
    assert (worth.status, worth.reward, worth.error) == ("ok", -0.5, None)
    assert worth.scores == {"dummy": None, "format": 1.0}
    assert worth.explanation is not None
    assert worth.explanation["dummy"]["error"] == TIMED_OUT.error
    assert rewarded(TIMED_OUT, TIMED_OUT, on_response_timeout=0).reward == 0.0


@pytest.mark.parametrize("other", [FAILED, NOT_BEGUN])
def test_what_is_not_the_responses_own_hang_stays_null(other: Score) -> None:
    for pair in ((other, Score(1.0)), (TIMED_OUT, other), (other, TIMED_OUT)):
        result = rewarded(*pair, on_response_timeout=0.0)
        assert (result.status, result.reward) == ("error", None)


def test_what_a_hang_is_worth_belongs_to_the_fingerprint_and_only_if_it_is_said() -> None:
    def fingerprint(**more: object) -> str:
        content = {"scorers": {"dummy": {}}, **more}
        return Profile("test", ProfileConfig.model_validate(content)).fingerprint

    assert fingerprint() == fingerprint(on_response_timeout=None)
    assert len({fingerprint(), *(fingerprint(on_response_timeout=at) for at in (0, -1))}) == 3


@pytest.mark.parametrize("shadow", ["mine", "nowhere"])
def test_a_shadow_must_be_another_profile(tmp_path: Path, shadow: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"scorers: {{dummy: {{}}}}\nshadow: {shadow}\n")
    with pytest.raises(ConfigError, match=f"mine: shadow '{shadow}' is not one of dummy, format"):
        load_profiles([tmp_path])


def test_a_scorers_new_version_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = profile(format={}).fingerprint
    monkeypatch.setattr("touchstone_rewards.reward_server.scorers.format.FormatScorer.version", "2")
    assert profile(format={}).fingerprint != before


def test_the_operators_profiles_join_the_built_in_ones_and_win(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("scorers: {dummy: {weight: 3}}\n")
    (tmp_path / "math.yaml").write_text("scorers: {dummy: {}}\n")
    profiles = load_profiles([tmp_path])
    assert profiles["mine"].reward({"dummy": Score(0.5)}) == (1.5, None)
    assert profiles["math"].info.scorers == ["dummy"]


def test_a_directory_without_profiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no profile"):
        load_profiles([tmp_path])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the whole"),
        ("scorers: {}", "scorers"),
        ("scorers: {grammar: {}}", "unknown scorer 'grammar'; the scorers are"),
        ("scorers: {format: {wieght: 1}}", r"scorers\.format\.wieght: unknown key"),
        ("scorers: {format: {weight: .nan}}", r"scorers\.format\.weight"),
        ("scorers: {format: {config: {stile: x}}}", "stile"),
        ("scorers: {format: {}}\ncolour: red", "colour: unknown key"),
        ("scorers: [", "cannot read"),
        ("scorers: {format: {}}\nclip: [1, 1]", r"clip is \[1.0, 1.0\]"),
        ("scorers: {format: {}}\nclip: [0, .inf]", r"clip\.1"),
        ("scorers: {format: {}}\nnormalization: group", "normalization"),
    ],
)
def test_a_broken_profile_is_refused_with_file_and_place(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=complaint) as refusal:
        load_profile(path)
    assert "broken.yaml" in str(refusal.value)


def test_the_scores_have_the_same_keys_whatever_becomes_of_a_sample(server: LiveServer) -> None:
    samples = [
        {"id": "right", "response": "\\boxed{4}", "ground_truth": "4"},
        {"id": "no truth", "response": "\\boxed{4}"},
        {"id": "too large", "response": "4" * (2**20 + 1), "ground_truth": "4"},
    ]
    body = {"profile": "math", "samples": samples}
    results = httpx2.post(f"{server.url}/score", json=body).json()["results"]
    assert [result["status"] for result in results] == ["ok", "error", "error"]
    assert {tuple(result["scores"]) for result in results} == {("math", "format")}


@pytest.mark.parametrize(
    "content", ["scorers: {\n  math: {}\n", "a: b: c\n", "- x\n\t- y\n", "\x00"]
)
def test_a_file_that_is_no_yaml_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as raised:
        load_profile(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        load_settings(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
