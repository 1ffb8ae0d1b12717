"""The judge on `transformers serve` with SmolLM2, in an environment of its own.

`tests/engines/make_transformers.sh` makes it. This engine takes a request for a JSON schema or for
log-probabilities and answers as if it had not been asked: no verdict is made of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.served import Served, environments, served
from tests.started_engines import started_engines
from tests.waiting import until
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
HOUR_S = 3600.0
RUN = "from transformers.cli.transformers import main; main()"
# A prompt that so small a model can follow.
SAY_YES = "{{ response }}\n{{ instruction }}\n\nSay: Verdict: yes"
StartEngine = Callable[..., Awaitable[Engine]]
"""Takes what the judge's config has beside its address."""
Serve = Callable[..., AbstractContextManager[Served]]
"""Starts the engine, on a port where one is given."""


@pytest.fixture(scope="module")
def model(smollm2: Path) -> str:
    return str(smollm2)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, model: str) -> Serve:
    made = environments() / "transformers"
    if not (made / ".made_with").is_file():
        pytest.skip(f"no environment {made}: make it by tests/engines/make_transformers.sh")
    folder = tmp_path_factory.mktemp("transformers")
    options = ["--host", "127.0.0.1", "--port", "PORT", "--device", "cpu"]
    words = [made / "bin" / "python", "-c", RUN, "serve", model, *options]
    env = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def start(port: int | None = None) -> AbstractContextManager[Served]:
        return served(words, folder, folder / "engine.log", env, "/health", port)

    return start


@pytest.fixture(scope="module")
def engine_server(serve: Serve) -> Iterator[Served]:
    with serve() as server:
        yield server


@pytest.fixture
async def start_engine(tmp_path: Path, model: str) -> AsyncIterator[StartEngine]:
    async with started_engines(tmp_path, request_deadline_s=HOUR_S) as start:

        def judged(server: Served, deadline_s: float = HOUR_S, **config: Any) -> Awaitable[Engine]:
            about = {"url": f"{server.url}/v1", "model": model, "timeout_s": HOUR_S}
            entry = {"deadline_s": deadline_s, "config": about | {"max_in_flight": 2} | config}
            return start("judged", {"scorers": {"judge": entry}})

        yield judged


@pytest.fixture
def say_yes(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "say_yes.jinja").write_text(SAY_YES)
    return {"prompt": str(tmp_path / "say_yes.jinja"), "form": "yes_no", "max_tokens": 32}


async def scored(engine: Engine, *responses: str) -> list[SampleResult]:
    samples = [
        Sample(str(at), text, prompt="What is 2 * 23?", ground_truth="46")
        for at, text in enumerate(responses)
    ]
    return (await engine.score(ScoreRequest(samples, profile="judged", explain=True))).results


async def test_a_chat_judge_reads_its_verdict(
    engine_server: Served,
    start_engine: StartEngine,
    say_yes: dict[str, Any],
    model: str,
    record_property: Callable[[str, object], None],
) -> None:
    made_with = (environments() / "transformers" / ".made_with").read_text()
    record_property("engine", made_with.partition(" ")[0])
    engine = await start_engine(engine_server, **say_yes)
    before = engine.profiles["judged"].fingerprint
    [result] = await scored(engine, "It is 46.")
    assert result.reward == 1.0, result.error
    assert result.explanation is not None
    told = result.explanation["judge"]
    assert told["said"] == "Verdict: yes"
    assert told["judge"].startswith(model[:100])
    assert told["prompt_tokens"] > 20
    assert told["completion_tokens"] > 3
    assert engine.profiles["judged"].fingerprint != before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_tokens": 3}, "cut off at max_tokens 3"),
        ({"guided": True, "max_tokens": 48}, "the judge gave no verdict"),
        ({"verdict": "logprobs"}, "no choices[0].logprobs"),
    ],
)
async def test_what_the_engine_does_not_do_is_no_verdict(
    engine_server: Served, start_engine: StartEngine, config: dict[str, Any], message: str
) -> None:
    [result] = await scored(await start_engine(engine_server, **config), "It is 46.")
    assert result.reward is None
    assert result.error is not None
    assert result.error.code == "upstream_failed"
    assert message in result.error.message


async def test_a_killed_engine_scores_nothing_and_heals(
    serve: Serve, start_engine: StartEngine, say_yes: dict[str, Any]
) -> None:
    texts = [f"It is {number}." for number in range(12)]
    with serve() as server:
        engine = await start_engine(server, deadline_s=20.0, **say_yes)
        load = asyncio.create_task(scored(engine, *texts))
        judge: Any = engine.profiles["judged"].scorers["judge"]
        await until(lambda: judge.usage["completion_tokens"] > 0 or load.done())
        server.kill()
        disturbed = [result.reward for result in await load]
    failed = [at for at, reward in enumerate(disturbed) if reward is None]
    assert failed
    assert set(disturbed) <= {None, 1.0}  # this prompt gets no other verdict
    assert engine.upstreams.down() == {"judged.judge": "none of its 1 endpoints answers"}
    with serve(server.port):

        def is_back() -> bool:
            engine.upstreams.look()
            return not engine.upstreams.down()

        await until(is_back)
        again = await scored(engine, *(texts[at] for at in failed[:2]))
        assert [result.reward for result in again] == [1.0] * len(again)
