"""A reload on a cluster accepts scorers that have replicas, refuses others, deploys nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.checkout import PLUGINS
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.pool.pools import WorkerPools
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

cluster = pytest.importorskip(
    "touchstone_rewards.reward_server.ray.cluster",
    reason="Ray is not installed: pip install '.[ray]' in the checkout",
)

WORKER = "scorers: {math: {config: {rounding: exact}}}\n"
OTHER = "scorers: {math: {config: {rounding: ground_truth_precision}}}\n"
MODEL = "scorers: {dying: {scorer: 'tests.reward_server.dying_model:DyingScorer'}}\n"
HANDLES: Any = {"math": object(), "dying": object()}  # no sample is scored here


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "worker.yaml").write_text(WORKER)
    (tmp_path / "neural.yaml").write_text(MODEL)
    return tmp_path


@pytest.fixture
async def engine(profiles: Path) -> AsyncIterator[Engine]:
    engine = create_engine(
        load_profiles([profiles], plugins=PLUGINS),
        load_settings(),
        Metrics(),
        lambda specs, _: cast(WorkerPools, cluster.RemotePool(specs, HANDLES)),
        cluster.remote_batchers(HANDLES),
    )
    await engine.start()
    yield engine
    await engine.stop()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (OTHER, r"no replica of scorer math \{.*ground_truth_precision.*deploy it again"),
        ("scorers: {x: {scorer: 'tests.reward_server.hostile_scorers:Hostile'}}", "Hostile"),
        (MODEL.replace("DyingScorer", "OtherDyingScorer"), "no replica of model 'other'"),
    ],
)
async def test_a_scorer_that_was_not_deployed_is_refused_and_the_old_profiles_go_on(
    profiles: Path, engine: Engine, content: str, said: str
) -> None:
    before = {name: profile.fingerprint for name, profile in engine.profiles.items()}
    (profiles / "new.yaml").write_text(content)
    with pytest.raises(
        ConfigError, match=f"the old profiles stay in service: the cluster has .*{said}"
    ):
        await Reloader(engine, [profiles], PLUGINS).reload()
    assert {name: profile.fingerprint for name, profile in engine.profiles.items()} == before


async def test_what_was_deployed_may_go_and_come_back_but_not_with_another_config(
    profiles: Path, engine: Engine
) -> None:
    reloader = Reloader(engine, [profiles], PLUGINS)
    (profiles / "worker.yaml").write_text("scorers: {format: {weight: 2}}\n")
    (profiles / "neural.yaml").unlink()
    await reloader.reload()
    assert not engine.models.batchers
    (profiles / "worker.yaml").write_text(WORKER)
    (profiles / "neural.yaml").write_text(MODEL)
    await reloader.reload()
    assert list(engine.models.batchers) == ["dying"]
    (profiles / "neural.yaml").unlink()
    await reloader.reload()
    (profiles / "neural.yaml").write_text(MODEL.replace("DyingScorer", "ThriftyDyingScorer"))
    with pytest.raises(ConfigError, match="no replica of model 'dying' with this config"):
        await reloader.reload()
