"""Scorers whose model loads once a file exists, or never, or dies of the text "poison"."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._noop_model import Noop, NoopConfig, NoopScorer
from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.models.thread import OutOfMemory, Prepared


class Dying(Noop):
    def run(self, batch: Sequence[Prepared]) -> list[float]:
        texts = [one.content for one in batch]
        if "poison" in texts:
            raise SystemExit("the thread is gone")
        if "huge" in texts:
            raise OutOfMemory("no room")
        return [float("nan") if text == "nan" else 0.5 for text in texts]


class DyingConfig(NoopConfig):
    kind = "dying"
    loader = f"{__name__}:load"
    model: str = "dying"

    def digest(self) -> str:
        return "dying"


def load(_: ModelConfig) -> Dying:
    return Dying()


class DyingScorer(NoopScorer):
    range = (0.0, 1.0)

    def __init__(self) -> None:
        self.use(DyingConfig(), "dying")


class SlowConfig(DyingConfig):
    loader = f"{__name__}:load_slowly"


def load_slowly(_: ModelConfig) -> Dying:
    while not Path(os.environ["TEST_LOADS_WHEN"]).exists():
        time.sleep(0.02)
    return Dying()


class SlowToLoad(DyingScorer):
    def __init__(self) -> None:
        self.use(SlowConfig(), "slow")


class BrokenConfig(DyingConfig):
    loader = f"{__name__}:fail_to_load"


def fail_to_load(_: ModelConfig) -> Dying:
    raise RuntimeError("the weights\nare not there")


class CannotBeLoaded(DyingScorer):
    def __init__(self) -> None:
        self.use(BrokenConfig(), "broken")


class OtherDyingScorer(DyingScorer):
    """A scorer whose model has another name."""

    def __init__(self) -> None:
        self.use(DyingConfig(name="other"), "dying")


class ThriftyDyingScorer(DyingScorer):
    """A scorer of the same model with another setting."""

    def __init__(self) -> None:
        self.use(DyingConfig(batch_tokens=512), "dying")
