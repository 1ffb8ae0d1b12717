"""Models replaced and dropped in a running engine: no answer has another model's fingerprint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks._noop_model import Noop, NoopConfig, NoopScorer
from tests.checkout import PLUGINS
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.reward_server.errors import ConfigError, InvalidRequest, NotReady
from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.models.thread import Prepared
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

# Set while models called "held" may load.
MAY_LOAD = threading.Event()
LOADING = threading.Event()
# The content of every model's files, which a test changes: part of each digest.
FILES = {"said": "first"}


class Steady(Noop):
    """Score everything with the number in its folder's name."""

    def __init__(self, score: float) -> None:
        self.score = score

    def run(self, batch: Sequence[Prepared]) -> list[float]:
        if any(one.content == "poison" for one in batch):
            raise SystemExit("the thread is gone")
        return [self.score] * len(batch)


class SteadyConfig(NoopConfig):
    kind = "steady"
    loader = f"{__name__}:load"
    model: str = "1"
    name: str | None = "steady"

    def digest(self) -> str:
        return f"{self.model}-{FILES['said']}"


def load(config: ModelConfig) -> Steady:
    if config.label == "held":
        LOADING.set()
        assert MAY_LOAD.wait(30)
    return Steady(float(config.model))


class SteadyScorer(NoopScorer):
    range = (None, None)

    def __init__(self, name: str = "steady", refuse: str = "") -> None:
        self.refuse = refuse
        config = SteadyConfig(name=name)
        self.use(config, config.digest())

    def use(self, model: ModelConfig, digest: str) -> None:
        if model.model == self.refuse:
            raise ConfigError(f"not with model {self.refuse}")
        self.model, self.version = model, f"1 {digest}"


SCORER = f"scorer: '{__name__}:SteadyScorer'"


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(f"scorers: {{steady: {{{SCORER}}}}}\n")
    return tmp_path


@pytest.fixture
async def make(profiles: Path) -> AsyncIterator[Callable[[], Engine]]:
    MAY_LOAD.clear()
    LOADING.clear()
    FILES["said"] = "first"
    made: list[Engine] = []

    def engine() -> Engine:
        settings = load_settings(overrides={"workers": 1})
        made.append(create_engine(load_profiles([profiles], plugins=PLUGINS), settings, Metrics()))
        return made[-1]

    yield engine
    MAY_LOAD.set()
    for each in made:
        await each.stop()


async def scored(engine: Engine, response: str = "x", profile: str = "mine") -> tuple[Any, str]:
    answer = await engine.score(ScoreRequest([Sample("1", response)], profile))
    return answer.results[0].reward, answer.fingerprint


async def test_no_answer_bears_the_fingerprint_of_another_model(
    make: Callable[[], Engine],
) -> None:
    engine = make()
    await engine.start()
    made_by: dict[str, set[float]] = {}
    over = False

    async def ask() -> None:
        while not over:
            with suppress(NotReady):
                reward, fingerprint = await scored(engine)
                if reward is not None:  # its requests were in the queue of a model that is dropped
                    made_by.setdefault(fingerprint, set()).add(reward)
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask()) for _ in range(20)]
    for model in ("2", "3", "1", "2"):
        answers = len(made_by)
        await engine.models.load("steady", {"model": model})
        fingerprint = engine.profiles["mine"].fingerprint
        await until(lambda now=fingerprint: now in made_by)
        assert len(made_by) >= answers
    over = True
    await asyncio.gather(*asking)
    assert len(made_by) == 3
    assert sorted(map(sorted, made_by.values())) == [[1.0], [2.0], [3.0]]


async def test_a_request_that_began_before_an_exchange_is_told_to_come_again(
    make: Callable[[], Engine],
) -> None:
    engine = make()
    await engine.start()
    profile = engine.profiles["mine"]
    await engine.models.load("steady", {"model": "2"})
    with pytest.raises(NotReady, match="was exchanged while the request waited"):
        await engine.columns.fill(profile, "steady", ScoreRequest([Sample("1", "x")], "mine"), None)
    assert profile.fingerprint != engine.profiles["mine"].fingerprint
    assert profile.info.fingerprint == profile.fingerprint


async def test_a_model_that_a_scorer_refuses_leaves_the_old_one_serving(
    make: Callable[[], Engine], profiles: Path
) -> None:
    (profiles / "mine.yaml").write_text(
        f"scorers: {{steady: {{{SCORER}, config: {{refuse: '2'}}}}}}\n"
    )
    engine = make()
    await engine.start()
    before = await scored(engine)
    with pytest.raises(InvalidRequest, match="not with model 2"):
        await engine.models.load("steady", {"model": "2"})
    assert await scored(engine) == before == (1.0, before[1])


async def test_a_model_whose_files_have_changed_does_not_come_back_under_its_old_fingerprint(
    make: Callable[[], Engine],
) -> None:
    engine = make()
    await engine.start()
    before = await scored(engine)
    FILES["said"] = "second"
    await scored(engine, "poison")
    await until(lambda: "have changed since" in (engine.not_ready_reason or ""))
    await engine.models.load("steady", {})
    after = await scored(engine)
    assert after[0] == 1.0
    assert after[1] != before[1]


async def test_a_reload_may_drop_a_model_while_it_loads(
    make: Callable[[], Engine], profiles: Path
) -> None:
    (profiles / "slow.yaml").write_text(
        f"scorers: {{steady: {{{SCORER}, config: {{name: held}}}}}}"
    )
    (profiles / "zz.yaml").write_text(f"scorers: {{steady: {{{SCORER}, config: {{name: last}}}}}}")
    engine = make()
    starting = asyncio.create_task(engine.start())
    await until(LOADING.is_set)
    reloader = Reloader(engine, [profiles], PLUGINS)
    (profiles / "slow.yaml").unlink()
    async with asyncio.timeout(PATIENCE_S):
        assert (await reloader.reload()).removed == ["slow"]
        await starting  # without the model that is still loading
    assert engine.not_ready_reason is None
    assert (await scored(engine))[0] == (await scored(engine, profile="zz"))[0] == 1.0
    async with asyncio.timeout(PATIENCE_S):
        await reloader.reload()


async def test_a_reload_may_add_a_model_while_others_load(
    make: Callable[[], Engine], profiles: Path
) -> None:
    (profiles / "slow.yaml").write_text(
        f"scorers: {{steady: {{{SCORER}, config: {{name: held}}}}}}"
    )
    engine = make()
    starting = asyncio.create_task(engine.start())
    await until(LOADING.is_set)
    (profiles / "zz.yaml").write_text(f"scorers: {{steady: {{{SCORER}, config: {{name: new}}}}}}")
    async with asyncio.timeout(PATIENCE_S):
        assert (await Reloader(engine, [profiles], PLUGINS).reload()).added == ["zz"]
    MAY_LOAD.set()
    await starting
    assert [(await scored(engine, profile=name))[0] for name in ("mine", "slow", "zz")] == [1.0] * 3


async def test_an_exchange_while_profiles_are_reloaded_refuses_the_reload(
    make: Callable[[], Engine], profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    await engine.start()
    add = engine.pool.add

    async def exchange_first(*arguments: Any) -> None:
        await engine.models.load("steady", {"model": "2"})
        await add(*arguments)

    monkeypatch.setattr(engine.pool, "add", exchange_first)
    (profiles / "mine.yaml").write_text(f"scorers: {{steady: {{weight: 2, {SCORER}}}}}\n")
    with pytest.raises(ConfigError, match="held with other settings or files"):
        await Reloader(engine, [profiles], PLUGINS).reload()
    assert (await scored(engine))[0] == 2.0
    monkeypatch.undo()
    await Reloader(engine, [profiles], PLUGINS).reload()
    assert (await scored(engine))[0] == 4.0
