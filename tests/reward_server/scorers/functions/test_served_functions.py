"""Functions in an engine: a hang, a crash or too much memory costs only its own sample."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.checkout import PLUGINS, run_command
from tests.waiting import longer_and_longer
from touchstone_rewards.reward_server.errors import RequestDeadline
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

REWARDS = "tests.reward_server.scorers.functions.rewards"
PROFILES = {
    "sync": f"{{scorer: '{REWARDS}:of_a_kind', deadline_s: 0.5, memory_bytes: 134217728}}",
    "roomy": f"{{scorer: '{REWARDS}:of_a_kind'}}",
    "batch": f"{{scorer: '{REWARDS}:batch', config: {{bonus: 1.0}}}}",
    "lists": f"{{scorer: '{REWARDS}:told_sizes', deadline_s: 0.5, memory_bytes: 134217728}}",
    "patient": f"{{scorer: '{REWARDS}:told_sizes', deadline_s: 600}}",
    "wrong": f"{{scorer: '{REWARDS}:wrong_count'}}",
    "group": f"{{scorer: '{REWARDS}:share'}}",
    "async": f"{{scorer: '{REWARDS}:awaited', deadline_s: 0.1, max_in_flight: 2}}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiles")
    for name, entry in PROFILES.items():
        (folder / f"{name}.yaml").write_text(f"scorers: {{mine: {entry}}}\n")
    return folder


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Engine]:
    settings = load_settings(overrides={"workers": 2})
    engine = create_engine(load_profiles([folder], plugins=PLUGINS), settings, Metrics())
    await engine.start()
    yield engine
    await engine.stop()


async def scored(engine: Engine, profile: str, *responses: str) -> list[SampleResult]:
    samples = [Sample(str(i), each, ground_truth="46") for i, each in enumerate(responses)]
    return (await engine.score(ScoreRequest(samples, profile=profile, explain=True))).results


def codes(results: list[SampleResult]) -> list[str | None]:
    return [result.error.code if result.error else None for result in results]


async def test_what_a_sync_function_does_to_one_sample_it_does_to_no_other(engine: Engine) -> None:
    words = ["fine", "hang", "raise", "nan", "memory", "none", "pair", "fine"]
    results = await scored(engine, "sync", *words)
    assert [result.reward for result in results] == [1.0, *[None] * 5, 0.25, 1.0]
    failed = "scorer_failed"
    assert codes(results) == [None, "deadline_exceeded", failed, failed, failed, failed, None, None]
    messages = [result.error.message if result.error else "" for result in results]
    assert messages[1] == "took more than 0.5 s"
    assert messages[2] == f"scorer {REWARDS}:of_a_kind raised KeyError: 'gold'"
    assert messages[3] == f"scorer {REWARDS}:of_a_kind returned nan; expected a finite number"
    assert messages[4].endswith("than one sample may use: 128 MiB (memory_bytes in the profile)")
    assert results[6].explanation == {
        "mine": {"function": f"{REWARDS}:of_a_kind", "why": "a quarter"}
    }


async def test_a_memory_limit_of_its_own_is_no_other_scorers(engine: Engine) -> None:
    assert codes(await scored(engine, "sync", "memory")) == ["scorer_failed"]
    [found] = await scored(engine, "roomy", "memory")
    assert found.reward == float(2**28)


async def test_batch_and_async_functions_are_served(engine: Engine) -> None:
    results = await scored(engine, "batch", "46", "45")
    assert [result.reward for result in results] == [2.0, 1.0]
    [found] = await scored(engine, "wrong", "46")
    assert found.error is not None
    assert "expected a list with one number for each of 1 samples" in found.error.message
    results = await scored(engine, "async", "46", "hang", "45", "hang", "46")
    assert [result.reward for result in results] == [1.0, None, 0.0, None, 1.0]
    assert codes(results)[1] == "deadline_exceeded"


async def test_a_batch_is_what_a_worker_has_in_hand(engine: Engine) -> None:
    """Two workers share the first eight samples; then each has at most eight at a time."""
    samples = [Sample(str(at), "fine", ground_truth=at) for at in range(40)]
    request = ScoreRequest(samples, profile="lists", explain=True)
    results = (await engine.score(request)).results
    assert [result.reward for result in results] == list(range(40))
    sizes = [(result.explanation or {})["mine"]["together"] for result in results]
    assert max(sizes) == 8
    assert sizes.count(1) < 8


async def test_rows_of_several_requests_are_never_one_call(engine: Engine) -> None:
    samples = [Sample(str(at), "fine", ground_truth=at) for at in range(3)]
    requests = (ScoreRequest(samples, profile="lists", explain=True) for _ in range(20))
    answers = await asyncio.gather(*map(engine.score, requests))
    rows = [row for answer in answers for row in answer.results]
    assert max((row.explanation or {})["mine"]["together"] for row in rows) <= 3


@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        ("none", "scorer_failed", "returned None: it could not score this sample"),
        ("raise", "scorer_failed", "raised KeyError: 'gold'"),
        ("memory", "scorer_failed", "needed more memory than one sample may use: 128 MiB"),
        ("hang", "deadline_exceeded", "took more than 0.5 s"),
        ("die", "worker_lost", "the worker died while it scored this sample"),
    ],
)
async def test_one_row_of_a_batch_spoils_no_other(
    engine: Engine, response: str, code: str, message: str
) -> None:
    samples = [
        Sample(str(at), response if at == 5 else "fine", ground_truth=at) for at in range(16)
    ]
    request = ScoreRequest(samples, profile="lists", explain=True)
    results = (await engine.score(request)).results
    assert [result.reward for result in results] == [*range(5), None, *range(6, 16)]
    error = results[5].error
    assert error is not None
    assert error.code == code
    assert message in error.message


async def test_a_batch_that_runs_when_its_request_ends_is_given_up(engine: Engine) -> None:
    samples = [Sample(str(at), "hang", ground_truth=1) for at in range(8)]
    results: list[SampleResult] = []
    for deadline_s in longer_and_longer(0.2):
        request = ScoreRequest(samples, profile="patient", deadline_ms=1000 * deadline_s)
        with suppress(RequestDeadline):  # on a busy machine none had begun
            results = (await engine.score(request)).results
            break
    assert codes(results) == ["deadline_exceeded"] * 8
    assert codes(await scored(engine, "batch", "46", "45")) == [None, None]


async def test_a_function_that_reads_its_group_is_served(engine: Engine) -> None:
    samples = [
        Sample(str(at), response, group_id="one" if at < 4 else "two")
        for at, response in enumerate(["a", "b", "a", "a", "a", "b"])
    ]
    results = (await engine.score(ScoreRequest(samples, profile="group"))).results
    assert [result.reward for result in results] == [0.75, 0.25, 0.75, 0.75, 0.5, 0.5]


def test_the_command_refuses_a_config_key_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": "1", "response": "46"}\n')
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(
        f"scorers: {{mine: {{scorer: '{REWARDS}:short_enough', config: {{most: 3}}}}}}\n"
    )
    flags = ["--profiles_dir", tmp_path / "own", "--profile", "mine"]
    done = run_command("score", *flags, "--input", tmp_path / "in.jsonl", "--output", "-")
    assert done.returncode == 2
    assert "has no parameter 'most' for its config; it has most_chars" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
