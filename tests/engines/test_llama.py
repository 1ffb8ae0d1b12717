"""The judge on a real engine: llama.cpp's server with SmolLM2, in an environment of its own.

`tests/engines/make.sh` makes it. What the model says is worth nothing here; that it is read, that
another name is noticed and that nothing is scored while the engine is dead is what counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks._engine import MODEL, EngineMissing, LlamaServer, llama_server
from tests.started_engines import started_engines
from tests.waiting import until
from touchstone_rewards.reward_server.remote.judge import Judge
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
StartEngine = Callable[..., Awaitable[Engine]]
HOUR_S = 3600.0


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    try:
        with llama_server(tmp_path_factory.mktemp("llama") / "engine.log") as server:
            yield server
    except EngineMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
async def start_engine(tmp_path: Path, llama: LlamaServer) -> AsyncIterator[StartEngine]:
    async with started_engines(tmp_path, request_deadline_s=HOUR_S) as start:

        def judged(
            name: str = "judge", deadline_s: float = HOUR_S, **config: Any
        ) -> Awaitable[Engine]:
            about = {"url": llama.url, "model": MODEL, "timeout_s": HOUR_S, "max_in_flight": 2}
            judge = about | config
            entry = {"scorer": name, "config": judge if name == "judge" else {"judge": judge}}
            return start("judged", {"scorers": {"judge": {**entry, "deadline_s": deadline_s}}})

        yield judged


async def scored(engine: Engine, *responses: str) -> list[SampleResult]:
    samples = [
        Sample(str(at), text, prompt="What is 2 * 23?", ground_truth="46", group_id="g")
        for at, text in enumerate(responses)
    ]
    return (await engine.score(ScoreRequest(samples, profile="judged", explain=True))).results


def told(result: SampleResult) -> dict[str, Any]:
    assert result.explanation is not None
    return result.explanation["judge"]


async def test_log_probabilities_of_a_real_engine_are_read(
    llama: LlamaServer, start_engine: StartEngine, record_property: Callable[[str, object], None]
) -> None:
    record_property("engine", llama.version)
    engine = await start_engine(verdict="logprobs", least_mass=0.01)
    before = engine.profiles["judged"].fingerprint
    [result] = await scored(engine, "It is 46.")
    assert result.reward is not None
    assert 0.0 < result.reward < 1.0
    assert told(result)["judge"] == MODEL
    assert told(result)["prompt_tokens"] > 50
    assert told(result)["completion_tokens"] == 1
    assert engine.profiles["judged"].fingerprint != before


async def test_a_schema_holds_a_real_engine_to_a_verdict(start_engine: StartEngine) -> None:
    [result] = await scored(await start_engine(guided=True, max_tokens=256), "46")
    assert result.reward in (0.0, 1.0), result.error
    assert told(result)["said"].strip().endswith("}")


async def test_what_rambles_to_its_limit_is_no_verdict(start_engine: StartEngine) -> None:
    [result] = await scored(await start_engine(max_tokens=3), "It is 46.")
    assert result.reward is None
    assert result.error is not None
    assert "cut off at max_tokens 3" in result.error.message


async def test_win_rates_by_a_real_engine(start_engine: StartEngine) -> None:
    engine = await start_engine("rank", verdict="logprobs", least_mass=0.001)
    rewards = [result.reward for result in await scored(engine, "It is 46.", "I like tea.")]
    assert None not in rewards
    assert sum(filter(None, rewards)) == pytest.approx(1.0)


async def test_a_killed_engine_scores_nothing_and_heals(
    llama: LlamaServer, start_engine: StartEngine
) -> None:
    engine = await start_engine(verdict="logprobs", least_mass=0.001, deadline_s=20.0)
    judge = engine.profiles["judged"].scorers["judge"]
    assert isinstance(judge, Judge)
    texts = [f"It is {number}." for number in range(12)]
    load = asyncio.create_task(scored(engine, *texts))
    await until(lambda: judge.usage["completion_tokens"] >= 2 or load.done())
    llama.kill()
    disturbed = [result.reward for result in await load]
    failed = [at for at, reward in enumerate(disturbed) if reward is None]
    assert failed
    # A share of two probabilities is neither 0 nor 1: a 0 would have been made up.
    assert all(reward is None or 0.0 < reward < 1.0 for reward in disturbed)
    # What `/ready` says under `upstreams`.
    dead = {"judged.judge": "none of its 1 endpoints answers"}
    assert engine.upstreams.down() == dead
    llama.start()

    def is_back() -> bool:
        engine.upstreams.look()
        return not engine.upstreams.down()

    await until(is_back)
    engine = await start_engine(verdict="logprobs", least_mass=0.001)
    assert None not in [each.reward for each in await scored(engine, *(texts[at] for at in failed))]
