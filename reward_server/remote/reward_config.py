"""Configuration of a reward model behind an endpoint."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.remote.endpoint import EndpointConfig
from touchstone_rewards.reward_server.remote.reward_wires import REWARD_WIRES, RewardWireName

# Who applies the chat template: this server ("here"), the engine, or nobody.
TemplatePlace = Literal["here", "engine", "plain"]
StepScores = Literal["last", "min", "mean", "product"]
NAMED_BY = ("vllm_pooling", "vllm_classify", "sglang_embeddings")


class RemoteRewardConfig(EndpointConfig):
    """Config of the `remote_reward_model` scorer.

    `wire`: the engine's protocol. `model`: its name at the endpoint. `local_folder`: a local copy
    of the model. `label`: which of several outputs is the score. `step_scores`: how to combine the
    scores of steps; a response is split at `step_separator`, and `step_mark` is inserted after each
    step.
    """

    wire: RewardWireName
    model: str | None = None
    reported_model: str | None = None
    template: TemplatePlace = "here"
    local_folder: str | None = Field(default=None, min_length=1)
    parity: bool = Field(default=True, description="compare the endpoint with local_folder")
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    label: int | str | None = None
    activation: bool = Field(default=False, description="request probabilities from 0 to 1")
    task: str | None = Field(default=None, description="task of vLLM's /pooling")
    max_tokens: int | None = Field(default=None, ge=2)
    truncation: Literal["refuse", "left", "right"] = "refuse"
    append_eos: bool = False
    pad_token: str | None = None
    step_scores: StepScores | None = None
    step_separator: str = Field(default="\n\n", min_length=1)
    step_mark: str | None = Field(default=None, pattern=r"^\S+$")
    batch_size: int = Field(default=16, ge=1, description="largest number of texts per request")
    max_in_flight: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        wire = REWARD_WIRES[self.wire]
        if self.wire in NAMED_BY and not self.model:
            raise ValueError(f"wire {self.wire} needs model: its name at the endpoint")
        if self.template == "here" and not self.local_folder:
            raise ValueError(
                "template: here needs local_folder, which has the tokenizer and the chat template; "
                "or set template: engine or plain"
            )
        if self.template == "engine" and not wire.chats:
            able = ", ".join(name for name, each in REWARD_WIRES.items() if each.chats)
            raise ValueError(f"wire {self.wire} takes no chats; template: engine works with {able}")
        if self.local_folder is None and self.model_fields_set & _NEED_FOLDER:
            said = ", ".join(sorted(self.model_fields_set & _NEED_FOLDER))
            raise ValueError(
                f"{said}: needs local_folder; without it the engine tokenizes and decides this"
            )
        return self._check_steps()

    def _check_steps(self) -> Self:
        if self.step_scores is None:
            if self.model_fields_set & {"step_separator", "step_mark"}:
                raise ValueError("set step_scores: last, min, mean or product")
            return self
        if self.wire != "vllm_pooling":
            raise ValueError(f"wire {self.wire} returns no score per step; vllm_pooling does")
        if not self.activation or self.step_mark is None:
            raise ValueError("step_scores needs step_mark and activation: true, scores from 0 to 1")
        if self.local_folder and self.parity:
            raise ValueError("parity compares scores of whole texts: set parity: false")
        return self


_NEED_FOLDER = {"max_tokens", "truncation", "append_eos", "pad_token"}
