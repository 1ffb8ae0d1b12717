"""Scorers with their own workers: which pool serves which scorer, and when a pool ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from touchstone_rewards.reward_server.container import fit_memory, own_workers
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.pool import pools as pools_module
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.pool.pools import WorkerPools
from touchstone_rewards.reward_server.profiles import Profile, ProfileConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec
from touchstone_rewards.reward_server.settings import Settings

MATH, LENGTH = ScorerSpec("math", {}), ScorerSpec("length", {}, workers=3)


class FakePool:
    """A pool without processes, which records its calls."""

    def __init__(self, scorers: Mapping[str, ScorerSpec], workers: int) -> None:
        self.scorers = dict(scorers)
        self.workers = workers
        self.alive = self.pending = 0
        self.restarts = Counter[str](crashed=1)
        self.scored: list[str] = []
        self.stopped = False

    async def start(self) -> None:
        if any(spec.name == "broken" for spec in self.scorers.values()):
            raise ConfigError("broken cannot be built")
        self.alive = self.workers or 2

    async def stop(self) -> None:
        self.alive, self.stopped = 0, True

    async def add(self, scorers: Mapping[str, ScorerSpec], gone: Any = ()) -> None:
        self.scorers |= scorers

    async def score(self, scorer: str, samples: Sequence[Sample], **_: Any) -> list[Score]:
        self.scored.append(scorer)
        return [Score(1.0)] * len(samples)


@pytest.fixture
def made() -> list[FakePool]:
    return []


@pytest.fixture
async def pools(made: list[FakePool]) -> WorkerPools:
    def make(scorers: Mapping[str, ScorerSpec], workers: int) -> WorkerPool:
        made.append(FakePool(scorers, workers))
        return cast(WorkerPool, made[-1])

    pools = WorkerPools({MATH.key: MATH, LENGTH.key: LENGTH}, make)
    await pools.start()
    return pools


async def test_each_scorer_is_served_by_its_pool(pools: WorkerPools, made: list[FakePool]) -> None:
    shared, own = made
    assert (set(shared.scorers), shared.workers) == ({MATH.key}, 0)
    assert (set(own.scorers), own.workers) == ({LENGTH.key}, 3)
    for key in (MATH.key, LENGTH.key):
        assert await pools.of(key).score(key, [Sample("a", "x")]) == [Score(1.0)]
    assert (shared.scored, own.scored) == ([MATH.key], [LENGTH.key])
    assert (pools.alive, pools.restarts) == (5, {"crashed": 2})
    own.alive = 0
    assert pools.alive == 0  # not ready while a scorer has no worker


async def test_a_pool_that_cannot_be_started_changes_nothing(
    pools: WorkerPools, made: list[FakePool]
) -> None:
    broken = ScorerSpec("broken", {}, workers=1)
    with pytest.raises(ConfigError, match="broken"):
        await pools.add({broken.key: broken}, gone=[LENGTH.key])
    assert [pool.stopped for pool in made] == [False, False, True]
    assert await pools.of(LENGTH.key).score(LENGTH.key, [Sample("a", "x")])


async def test_a_pool_ends_once_no_profile_needs_it_and_it_is_idle(
    pools: WorkerPools, made: list[FakePool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_module, "IDLE_S", 0.0)
    own = made[1]
    own.pending = 1
    await pools.add({}, gone=[LENGTH.key])
    for _ in range(20):
        await asyncio.sleep(0)
    assert not own.stopped  # a call of the old profile runs there
    await pools.add({LENGTH.key: LENGTH})
    own.pending = 0
    for _ in range(20):
        await asyncio.sleep(0)
    assert not own.stopped  # it is needed again
    await pools.add({}, gone=[LENGTH.key])
    for _ in range(20):
        await asyncio.sleep(0)
    assert own.stopped
    assert len(made) == 2


def test_a_pool_changes_no_fingerprint_but_is_another_scorer() -> None:
    def profile(**more: Any) -> Profile:
        return Profile("p", ProfileConfig.model_validate({"scorers": {"math": more}}))

    plain, own = profile(), profile(pool={"workers": 2})
    assert plain.fingerprint == own.fingerprint
    assert plain.spec_keys != own.spec_keys
    assert own.specs["math"].workers == 2
    with pytest.raises(ValueError, match="workers"):
        profile(pool={"workers": 0})


def test_own_workers_count_against_the_containers_memory(tmp_path: Path) -> None:
    text = "scorers: {math: {pool: {workers: 2}}}\n"
    for name in ("a", "b"):  # the same scorer, the same workers
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "c.yaml").write_text("scorers: {math: {}}\n")
    assert own_workers([tmp_path]) == 3
    settings = Settings(workers=1)
    gib = 2**30
    assert fit_memory(settings, 8 * gib, 0) is settings
    fitted = fit_memory(settings, 8 * gib, 3)
    assert 5 * fitted.worker_memory_bytes + 768 * 2**20 <= 8 * gib
