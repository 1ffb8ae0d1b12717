"""Remote scorers in the engine: a limit on calls in flight, and a failure costs only its own
sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.checkout import PLUGINS
from tests.reward_server.remote_scorers import Acting
from tests.waiting import skip_time
from touchstone_rewards.reward_server.errors import RequestDeadline
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

ACTING = "tests.reward_server.remote_scorers:Acting"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    (tmp_path / "far.yaml").write_text(f"scorers: {{far: {{scorer: '{ACTING}'}}}}\n")
    (tmp_path / "short.yaml").write_text(
        f"scorers: {{far: {{scorer: '{ACTING}', deadline_s: 0.05, max_in_flight: 2}}}}\n"
    )
    settings = load_settings(overrides={"workers": 1, "sample_deadline_s": 100.0})
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, Metrics())
    await engine.start()
    yield engine
    await engine.stop()


def scorer_of(engine: Engine, profile: str) -> Acting:
    scorer = engine.profiles[profile].scorers["far"]
    assert isinstance(scorer, Acting)
    return scorer


async def scored(
    engine: Engine, profile: str, *responses: str, deadline_ms: float | None = None
) -> list[SampleResult]:
    samples = [Sample(str(i), response) for i, response in enumerate(responses)]
    request = ScoreRequest(samples, profile=profile, deadline_ms=deadline_ms)
    return (await engine.score(request)).results


async def until(condition: object) -> None:
    assert callable(condition)
    while not condition():
        await asyncio.sleep(0)


def codes(results: list[SampleResult]) -> list[str | None]:
    return [result.error.code if result.error else None for result in results]


async def test_what_goes_wrong_with_one_sample_is_its_own_error(engine: Engine) -> None:
    words = ["good", "raise", "exit", "refused", "upstream", "cancel", "text", "better"]
    results = await scored(engine, "far", *words)
    assert [result.reward for result in results] == [4.0, *[None] * 6, 6.0]
    upstream, failed = "upstream_failed", "scorer_failed"
    assert codes(results) == [None, failed, failed, upstream, upstream, failed, failed, None]
    refused = results[3].error
    assert refused is not None
    assert refused.retryable
    assert "ConnectionRefusedError: port 9" in refused.message


async def test_a_plugins_own_attributes_are_not_taken_for_those_of_a_judge(tmp_path: Path) -> None:
    alike = ACTING.replace("Acting", "Alike")
    (tmp_path / "alike.yaml").write_text(f"scorers: {{far: {{scorer: '{alike}'}}}}\n")
    settings = load_settings(overrides={"workers": 1, "cache_bytes": 1_000_000})
    metrics = Metrics()
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, metrics)
    await engine.start()
    for _ in range(2):  # the second time from the cache
        [result] = await scored(engine, "alike", "good")
        assert result.reward == 4.0
    assert "alike" not in str(engine.upstreams.states())
    await engine.stop()


async def test_at_most_so_many_samples_are_in_hand_over_all_requests(engine: Engine) -> None:
    scorer = scorer_of(engine, "far")
    requests = [asyncio.create_task(scored(engine, "far", *["wait"] * 10)) for _ in range(3)]
    await until(lambda: scorer.in_hand == 4)
    for _ in range(20):
        await asyncio.sleep(0)
    assert scorer.most == 4
    scorer.go_on.set()
    for results in await asyncio.gather(*requests):
        assert [result.reward for result in results] == [4.0] * 10
    assert (scorer.most, scorer.in_hand) == (4, 0)


async def test_a_sample_that_hangs_ends_at_its_own_deadline_and_no_other_with_it(
    engine: Engine,
) -> None:
    results = await scored(engine, "short", "hang", "good", "hang", "good")
    assert [result.reward for result in results] == [None, 4.0, None, 4.0]
    late = results[0].error
    assert late is not None
    assert (late.code, late.message) == ("deadline_exceeded", "took more than 0.05 s")
    scorer = scorer_of(engine, "short")
    await until(lambda: scorer.cancelled == ["hang", "hang"])
    assert scorer.most == 2


async def test_a_call_that_will_not_be_cancelled_answers_in_time_and_keeps_its_turn(
    engine: Engine,
) -> None:
    results = await scored(engine, "short", "stubborn", "good")
    assert codes(results) == ["deadline_exceeded", None]
    scorer = scorer_of(engine, "short")
    assert scorer.in_hand == 1
    scorer.go_on.set()
    await until(lambda: scorer.in_hand == 0)
    assert codes(await scored(engine, "short", "good", "good")) == [None, None]


async def test_the_requests_deadline_ends_what_runs_and_what_waits(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorer_of(engine, "far")
    words = ["good", *["hang"] * 4, "good"]
    scoring = asyncio.create_task(scored(engine, "far", *words, deadline_ms=20_000))
    await until(lambda: scorer.in_hand == 4)
    skip_time(monkeypatch, 20.0)
    results = await scoring
    assert results[0].reward == 4.0
    errors = [result.error for result in results[1:]]
    assert {error.code for error in errors if error} == {"deadline_exceeded"}
    assert all(error and error.retryable for error in errors)
    with pytest.raises(RequestDeadline):
        await scored(engine, "far", *["hang"] * 5, deadline_ms=30)


async def test_a_caller_who_hangs_up_cancels_his_calls(engine: Engine) -> None:
    scorer = scorer_of(engine, "far")
    request = asyncio.create_task(scored(engine, "far", *["hang"] * 9))
    await until(lambda: scorer.in_hand == 4)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await until(lambda: scorer.in_hand == 0)
    assert scorer.cancelled == ["hang"] * 4
    assert codes(await scored(engine, "far", "good")) == [None]


async def test_deadline_and_turns_leave_the_fingerprint_as_it_is(engine: Engine) -> None:
    assert engine.profiles["far"].fingerprint == engine.profiles["short"].fingerprint
