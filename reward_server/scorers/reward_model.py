"""A reward model's score of prompt and response: unbounded, higher is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reward_server.models.config import ModelConfig, RewardModelConfig
from reward_server.models.text import Text
from reward_server.schemas import Sample
from reward_server.scorers.base import RunsIn, Score


class RewardModelScorer:
    """The config keys are the fields of `models.config.RewardModelConfig`: see docs/neural.md."""

    range = (None, None)
    runs_in: RunsIn = "model"
    reads = ("prompt", "response")

    def __init__(self, **config: Any) -> None:
        model = RewardModelConfig(**config)
        self.use(model, model.digest())

    def use(self, model: ModelConfig, digest: str) -> None:
        self.model = model
        self.version = f"1 {digest}"

    def inputs(self, sample: Sample) -> Sequence[Text]:
        return [Text(sample.prompt, sample.response)]

    def judge(self, outputs: Sequence[Any], explain: bool) -> Score:
        [output] = outputs
        return Score(output.score, None, _explained(output) if explain else None)


def _explained(output: Any) -> dict[str, Any]:
    return {"tokens": output.tokens, "tokens_cut": output.cut}
