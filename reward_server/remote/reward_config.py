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
    """Config of the `remote_reward_model` scorer."""

    wire: RewardWireName = Field(description="API of the engine")
    model: str | None = Field(default=None, description="name of the model at the engine")
    reported_model: str | None = Field(
        default=None,
        description="name in the replies, if it differs; null: that of the first reply",
    )
    template: TemplatePlace = Field(
        default="here",
        description="who applies the chat template: this server, the engine, or nobody",
    )
    local_folder: str | None = Field(
        default=None,
        min_length=1,
        description="the same model on this machine: a folder, or a hub name",
    )
    parity: bool = Field(default=True, description="compare the endpoint with local_folder")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16",
        description="the engine's dtype, which sets the tolerance of the comparison",
    )
    label: int | str | None = Field(
        default=None,
        description="which of several outputs is the score: its index, or its name with TEI",
    )
    activation: bool = Field(default=False, description="request probabilities from 0 to 1")
    task: str | None = Field(default=None, description="task of vLLM's /pooling")
    max_tokens: int | None = Field(
        default=None, ge=2, description="longest input; null: the model's context"
    )
    truncation: Literal["refuse", "left", "right"] = Field(
        default="refuse", description="a longer input: an error, or cut on this side"
    )
    append_eos: bool = Field(default=False, description="end every text with the EOS token")
    pad_token: str | None = Field(
        default=None, description="padding token, if the tokenizer has none"
    )
    step_scores: StepScores | None = Field(
        default=None,
        description="how the scores of a response's steps are combined; null: no steps",
    )
    step_separator: str = Field(
        default="\n\n", min_length=1, description="text at which a response is split into steps"
    )
    step_mark: str | None = Field(
        default=None, pattern=r"^\S+$", description="token appended to each step, such as <extra_0>"
    )
    batch_size: int = Field(default=16, ge=1, description="largest number of texts per request")
    max_in_flight: int = Field(default=256, ge=1, description="samples in progress at a time")

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
