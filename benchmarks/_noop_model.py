"""A scorer whose model does nothing, to measure the server, its queue and its thread only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.models.thread import Prepared
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score


class Noop:
    pads = False
    about: ClassVar[dict[str, Any]] = {}

    def prepare(self, inputs: Sequence[str]) -> list[Prepared]:
        return [Prepared(1, text) for text in inputs]

    def run(self, batch: Sequence[Prepared]) -> list[float]:
        return [float(len(one.content)) for one in batch]

    def close(self) -> None:
        return


class NoopConfig(ModelConfig):
    kind = "noop"
    loader = "benchmarks._noop_model:load"
    model: str = "noop"

    def digest(self) -> str:
        return "noop"


def load(_: NoopConfig) -> Noop:
    return Noop()


class NoopScorer:
    range = (0.0, None)
    runs_in: Literal["model"] = "model"
    reads = ("response",)

    def __init__(self) -> None:
        self.use(NoopConfig(), "noop")

    def use(self, model: ModelConfig, digest: str) -> None:
        self.model, self.version = model, digest

    def inputs(self, sample: Sample) -> Sequence[str]:
        return [sample.response]

    def judge(self, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
        return Score(outputs[0])
