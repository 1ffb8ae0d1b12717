"""What a profile says of a reward model behind an endpoint."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.remote.endpoint import EndpointConfig
from touchstone_rewards.reward_server.remote.reward_wires import REWARD_WIRES, RewardWireName

# Who applies the chat template: we, with the tokenizer in `local_folder`; the engine; or no one.
TemplatePlace = Literal["here", "engine", "plain"]
StepScores = Literal["last", "min", "mean", "product"]
NAMED_BY = ("vllm_pooling", "vllm_classify", "sglang_embeddings")


class RemoteRewardConfig(EndpointConfig):
    """`wire`: how the engine is asked. `model`: its name there. `local_folder`: the same one here.

    `label`: which of several outputs is the score. `step_scores`: what the scores of the steps come
    to; a response is split at `step_separator`, and `step_mark` is put behind each step."""

    wire: RewardWireName
    model: str | None = None
    reported_model: str | None = None
    template: TemplatePlace = "here"
    local_folder: str | None = Field(default=None, min_length=1)
    parity: bool = Field(
        default=True, description="hold the endpoint against the model in local_folder"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    label: int | str | None = None
    activation: bool = Field(default=False, description="ask for probabilities from 0 to 1")
    task: str | None = Field(default=None, description="of vLLM's /pooling")
    max_tokens: int | None = Field(default=None, ge=2)
    truncation: Literal["refuse", "left", "right"] = "refuse"
    append_eos: bool = False
    pad_token: str | None = None
    step_scores: StepScores | None = None
    step_separator: str = Field(default="\n\n", min_length=1)
    step_mark: str | None = Field(default=None, pattern=r"^\S+$")
    batch_size: int = Field(default=16, ge=1, description="the most texts of one request")
    max_in_flight: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        wire = REWARD_WIRES[self.wire]
        if self.wire in NAMED_BY and not self.model:
            raise ValueError(f"wire {self.wire} needs the model's name there: model")
        if self.template == "here" and not self.local_folder:
            raise ValueError(
                "template: here needs local_folder, which has the tokenizer and the chat template; "
                "or say template: engine or plain"
            )
        if self.template == "engine" and not wire.chats:
            able = ", ".join(name for name, each in REWARD_WIRES.items() if each.chats)
            raise ValueError(f"wire {self.wire} takes no chats: template: engine goes with {able}")
        if self.local_folder is None and self.model_fields_set & _NEED_FOLDER:
            said = ", ".join(sorted(self.model_fields_set & _NEED_FOLDER))
            raise ValueError(
                f"{said}: without local_folder the engine makes the tokens, and decides this"
            )
        return self._check_steps()

    def _check_steps(self) -> Self:
        if self.step_scores is None:
            if self.model_fields_set & {"step_separator", "step_mark"}:
                raise ValueError("say step_scores: last, min, mean or product")
            return self
        if self.wire != "vllm_pooling":
            raise ValueError(f"wire {self.wire} gives no score a step; vllm_pooling does")
        if not self.activation or self.step_mark is None:
            raise ValueError("step_scores needs step_mark and activation: true, scores from 0 to 1")
        if self.local_folder and self.parity:
            raise ValueError("parity holds scores of whole texts: say parity: false")
        return self


_NEED_FOLDER = {"max_tokens", "truncation", "append_eos", "pad_token"}
