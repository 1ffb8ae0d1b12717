"""The same sample is evaluated once, as counted by a scorer in real worker processes."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.checkout import PLUGINS
from tests.waiting import PATIENCE_S, skip_time, until
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.verdict_cache import VerdictCache
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

SIZE = 4 * 2**20
MODULE = "tests.reward_server.counting_scorer"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    for name, scorer in {"counted": "Counting", "undecided": "Undecided"}.items():
        config = f"{{scorer: '{MODULE}:{scorer}', config: {{file: {tmp_path}/{name}}}}}"
        (tmp_path / f"{name}.yaml").write_text(f"scorers: {{{name}: {config}}}\n")
    patience = {"sample_deadline_s": 2 * PATIENCE_S, "request_deadline_s": PATIENCE_S}
    settings = load_settings(overrides={"workers": 2, **patience})
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, Metrics())
    await engine.start()
    yield engine
    await engine.stop()


def evaluated(tmp_path: Path, name: str = "counted") -> list[str]:
    path = tmp_path / name
    return path.read_text().split() if path.exists() else []


def let_go_on(tmp_path: Path, name: str = "counted") -> None:
    """Release the samples that wait."""
    (tmp_path / f"{name}.open").touch()


def shared(engine: Engine) -> int:
    """Return how many samples wait for another's evaluation."""
    return sum(map(len, engine.cache._flying.values()))


async def score(engine: Engine, *samples: Sample, **fields: object) -> list[SampleResult]:
    request = ScoreRequest(list(samples), **{"profile": "counted", **fields})  # pyright: ignore
    return (await engine.score(request)).results


def sample(name: str, response: str = "four", **fields: object) -> Sample:
    return Sample(name, response, **{"ground_truth": "1", **fields})  # pyright: ignore


def code(result: SampleResult) -> str | None:
    return result.error.code if result.error else None


async def test_repeated_answers_of_a_request_cost_one_evaluation(
    engine: Engine, tmp_path: Path
) -> None:
    texts = ["four", "seven!!", "four", "four"]
    results = await score(engine, *(sample(str(at), text) for at, text in enumerate(texts)))
    assert [(each.id, each.reward) for each in results] == [("0", 4), ("1", 7), ("2", 4), ("3", 4)]
    assert sorted(evaluated(tmp_path)) == ["0", "1"]
    assert engine.cache.counts == {"hit": 0, "shared": 2, "miss": 2}


async def test_a_verdict_is_found_again_by_content_and_not_by_id(
    engine: Engine, tmp_path: Path
) -> None:
    await score(engine, sample("first", group_id="g", metadata={"unread": 1}))
    [again] = await score(engine, sample("second"))
    assert (again.id, again.reward) == ("second", 4.0)
    different = [
        {"ground_truth": 1},
        {"ground_truth": 1.0},
        {"ground_truth": ["1"]},
        {"prompt": ""},
    ]
    for at, fields in enumerate(different):
        await score(engine, sample(f"other{at}", **fields))
    assert evaluated(tmp_path) == ["first", "other0", "other1", "other2", "other3"]
    assert 'reward_cache_samples_total{outcome="hit"} 1.0' in engine.metrics.render()[0].decode()


async def test_an_explanation_is_not_taken_from_a_verdict_without_one(
    engine: Engine, tmp_path: Path
) -> None:
    for explain in (False, True, True):
        [result] = await score(engine, sample(str(explain)), explain=explain)
        assert result.explanation == ({"counted": {"length": 4}} if explain else None)
    assert evaluated(tmp_path) == ["False", "True"]


async def test_a_scorer_that_promises_nothing_is_asked_every_time(
    engine: Engine, tmp_path: Path
) -> None:
    await score(engine, sample("a"), sample("b"), profile="undecided")
    assert sorted(evaluated(tmp_path, "undecided")) == ["a", "b"]


async def test_an_error_that_lies_in_the_data_is_kept_and_a_lost_worker_is_not(
    engine: Engine, tmp_path: Path
) -> None:
    [first] = await score(engine, sample("lost", prompt="die once"))
    assert code(first) == "worker_lost"
    [second] = await score(engine, sample("again", prompt="die once"))
    assert second.reward == 4.0
    for name in ("bad", "bad too"):
        [result] = await score(engine, sample(name, ground_truth=None))
        assert code(result) == "bad_ground_truth"
    assert evaluated(tmp_path) == ["lost", "again", "bad"]


async def test_requests_in_flight_share_an_evaluation(engine: Engine, tmp_path: Path) -> None:
    both = asyncio.gather(*(score(engine, sample(name, prompt="wait")) for name in "ab"))
    await until(lambda: evaluated(tmp_path) and shared(engine) == 1)
    let_go_on(tmp_path)
    assert [result.reward for [result] in await both] == [4.0, 4.0]
    assert len(evaluated(tmp_path)) == 1


async def test_a_caller_that_leaves_does_not_fail_the_one_that_waits_with_it(
    engine: Engine, tmp_path: Path
) -> None:
    first = asyncio.create_task(score(engine, sample("first", prompt="wait")))
    await until(lambda: evaluated(tmp_path) == ["first"])
    second = asyncio.create_task(score(engine, sample("second", prompt="wait")))
    await until(lambda: shared(engine) == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    let_go_on(tmp_path)
    [result] = await second
    assert (result.id, result.reward) == ("second", 4.0)


async def test_who_waits_for_anothers_verdict_gives_up_at_its_own_deadline(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = asyncio.create_task(score(engine, sample("slow", prompt="wait")))
    await until(lambda: evaluated(tmp_path) == ["slow"])
    both = sample("late", prompt="wait"), sample("quick", "ok")
    hasty = asyncio.create_task(score(engine, *both, deadline_ms=60_000))
    await until(lambda: shared(engine) == 1)  # the evaluations that it leads are done by then
    skip_time(monkeypatch, 60.0)
    [late, quick] = await hasty
    assert code(late) == "deadline_exceeded"
    assert late.error is not None
    assert late.error.retryable
    assert quick.reward == 2.0
    let_go_on(tmp_path)
    [result] = await slow
    assert result.reward == 4.0


async def test_whose_deadline_passes_leaves_the_others_theirs(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = sample("hasty", prompt="wait"), sample("quick", "ok")
    hasty = asyncio.create_task(score(engine, *both, deadline_ms=60_000))
    await until(lambda: sorted(evaluated(tmp_path)) == ["hasty", "quick"])
    patient = sample("patient", prompt="wait")
    waiting = asyncio.create_task(score(engine, patient))
    await until(lambda: shared(engine) == 1)
    skip_time(monkeypatch, 60.0)
    [late, _] = await hasty
    assert code(late) == "deadline_exceeded"
    let_go_on(tmp_path)
    [result] = await waiting
    assert result.reward == 4.0


@pytest.mark.parametrize("explained", [False, True])
async def test_the_cache_stays_within_its_bytes_and_drops_the_longest_unused(
    explained: bool,
) -> None:
    cache = VerdictCache(max_bytes=SIZE)

    async def run(samples, *, on_score):
        scores = [
            Score(float(len(each.response)), None, about(each.response) if explained else None)
            for each in samples
        ]
        for at, each in enumerate(scores):
            on_score(at, each)
        return scores

    def about(text: str) -> dict:
        return {"answer": text + "!", "rule": f"rule {text}", "read": [text + "?", {"as": text}]}

    def ask(names: range):
        return cache.score("s", ["response"], [Sample("", f"r{at:050}") for at in names], run)

    tracemalloc.start()
    for start in range(0, 24_000, 500):
        await ask(range(500))  # used again and again
        await ask(range(start, start + 500))
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert cache.bytes <= SIZE
    assert len(cache) < 24_000
    assert 0.4 * SIZE < held_bytes < 1.2 * SIZE
    before = cache.counts["hit"]
    await ask(range(500))
    assert cache.counts["hit"] == before + 500
