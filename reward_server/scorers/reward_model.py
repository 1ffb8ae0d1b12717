"""Score with a reward model: unbounded, higher is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.config import ModelConfig, RewardModelConfig
from touchstone_rewards.reward_server.models.files import how_made
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score


class RewardModelScorer:
    """Score prompt and response with a reward model.

    The other config keys are the fields of `models.config.RewardModelConfig`: see docs/neural.md.
    """

    range = (None, None)
    runs_in: Literal["model"] = "model"
    reads = ("prompt", "response")
    config_type = RewardModelConfig

    def __init__(
        self,
        *,
        lower_bound_stds: Annotated[
            float,
            Field(description="standard deviations to subtract, for models trained with disco"),
        ] = 0.0,
        **config: Any,
    ) -> None:
        model = RewardModelConfig(**config)
        self.lower_bound_stds = float(lower_bound_stds)
        self.use(model, model.digest())

    def use(self, model: ModelConfig, digest: str) -> None:
        if self.lower_bound_stds and how_made(model.folder()).get("loss") != "disco":
            raise ConfigError(
                f"lower_bound_stds is set, but model {model.label} gives no standard deviation: "
                "train one with `loss: disco`"
            )
        self.model = model
        self.version = f"3 {digest}"

    def inputs(self, sample: Sample) -> Sequence[Text]:
        return [Text(sample.prompt, sample.response)]

    def judge(self, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
        [output] = outputs
        score = output.score - self.lower_bound_stds * (output.std or 0.0)
        return Score(score, None, _explained(output) if explain else None)


def _explained(output: Any) -> dict[str, Any]:
    told = {"tokens": output.tokens, "tokens_cut": output.cut}
    return told if output.std is None else told | {"mean": output.score, "std": output.std}
