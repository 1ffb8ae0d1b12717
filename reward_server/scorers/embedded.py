"""What the scorers that compare embeddings share: the model they use, and the cosine."""

from __future__ import annotations

import math
from typing import Any, Literal

from touchstone_rewards.reward_server.models.config import (
    ModelConfig,
    RemoteEmbeddingConfig,
    embedding_config,
)


class EmbeddedScorer:
    """Base of the scorers that read an embedding model's vectors; `config` is that model's."""

    runs_in: Literal["model"] = "model"
    config_type = RemoteEmbeddingConfig  # it has all keys of the local one

    def __init__(self, **config: Any) -> None:
        model = embedding_config(**config)
        self.use(model, model.digest())

    def use(self, model: ModelConfig, digest: str) -> None:
        """Score with this model from now on; its digest becomes part of the version."""
        self.model = model
        self.version = f"1 {digest}"


def cosine(one: Any, other: Any) -> float:
    """Return the cosine of the angle between two vectors of shape [dim]; NaN if one is zero."""
    size = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / size if size else math.nan
