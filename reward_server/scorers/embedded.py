"""Base of the scorers that compare embeddings: their model, and the cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from touchstone_rewards.reward_server.models.config import (
    EmbeddingConfig,
    ModelConfig,
    RemoteEmbeddingConfig,
    embedding_config,
)


class EmbeddedScorer:
    """Base of the scorers that use an embedding model; `config` is the model's."""

    runs_in: Literal["model"] = "model"
    config_type = EmbeddingConfig | RemoteEmbeddingConfig

    def __init__(self, **config: Any) -> None:
        model = embedding_config(**config)
        self.use(model, model.digest())

    def use(self, model: ModelConfig, digest: str) -> None:
        """Score with this model from now on; its digest becomes part of the version."""
        self.model = model
        self.version = f"2 {digest}"


def nearest(vectors: Sequence[Any]) -> list[tuple[float, int]]:
    """Return for each of two or more vectors, of shape [dim], its largest cosine with another one
    and the position of that vector.

    A zero vector has cosine 0 with all others.

    Raises:
        ValueError: a component is not finite.

    Example:
        >>> nearest([np.array([1.0, 0.0]), np.array([2.0, 0.0]), np.array([0.0, 1.0])])
        [(1.0, 1), (1.0, 0), (0.0, 0)]
    """
    import numpy as np

    matrix = np.stack(vectors).astype(np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError("the vector of a text is not finite")
    sizes = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit = matrix / np.where(sizes > 0, sizes, 1.0)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    places = cosines.argmax(axis=1)
    return [(float(row[at]), int(at)) for row, at in zip(cosines, places, strict=True)]


def cosine(one: Any, other: Any) -> float:
    """Return the cosine of the angle between two vectors of shape [dim]; NaN if one is zero."""
    size = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / size if size else math.nan
