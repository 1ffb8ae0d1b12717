"""The judge on a real vLLM with SmolLM2: by its last line, by a JSON schema, by log-probabilities.

`tests/engines/make_vllm.sh` makes the environment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.served import Served
from tests.engines.test_transformers import HOUR_S, SAY_YES
from tests.engines.test_vllm import vllm_server
from tests.started_engines import started_engines
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
Judged = Callable[..., Awaitable[tuple[Engine, Any]]]


@pytest.fixture(scope="module")
def server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("vllm_chat") / "vllm.log"
    options = "--served-model-name", "judge", "--max-model-len", "1024", "--max-num-seqs", "4"
    with vllm_server(smollm2, log, *options) as server:
        yield server


@pytest.fixture
async def judged(tmp_path: Path, server: Served) -> AsyncIterator[Judged]:
    (tmp_path / "say_yes.jinja").write_text(SAY_YES)
    async with started_engines(tmp_path, request_deadline_s=HOUR_S) as start:

        async def one(prompt: str = "equivalence", **config: Any) -> tuple[Engine, Any]:
            about = {"url": f"{server.url}/v1", "model": "judge", "timeout_s": HOUR_S} | config
            if prompt != "equivalence":
                about |= {"prompt": str(tmp_path / prompt), "form": "yes_no"}
            entry = {"deadline_s": HOUR_S, "config": about}
            engine = await start("judged", {"scorers": {"judge": entry}})
            sample = Sample("a", "It is 46.", prompt="What is 2 * 23?", ground_truth="46")
            request = ScoreRequest([sample], profile="judged", explain=True)
            return engine, (await engine.score(request)).results[0]

        yield one


async def test_the_last_line_of_a_chat_is_read(judged: Judged) -> None:
    _, result = await judged("say_yes.jinja", max_tokens=32)
    assert result.reward == 1.0, result.error
    assert result.explanation["judge"]["said"].strip() == "Verdict: yes"
    assert result.explanation["judge"]["judge"] == "judge"


async def test_a_schema_holds_the_engine_to_a_verdict(judged: Judged) -> None:
    _, result = await judged("say_yes.jinja", guided=True, max_tokens=256)
    assert result.reward in (0.0, 1.0), result.error
    assert result.explanation["judge"]["said"].strip().endswith("}")


async def test_log_probabilities_are_read(judged: Judged) -> None:
    engine, result = await judged(verdict="logprobs", least_mass=0.001)
    assert result.reward is not None, result.error
    assert 0.0 < result.reward < 1.0
    assert result.explanation["judge"]["completion_tokens"] == 1
    assert engine.upstreams.down() == {}


async def test_what_rambles_to_its_limit_is_no_verdict(judged: Judged) -> None:
    _, result = await judged(max_tokens=3)
    assert result.reward is None
    assert result.error.code == "upstream_failed"
    assert "cut off at max_tokens 3" in result.error.message
