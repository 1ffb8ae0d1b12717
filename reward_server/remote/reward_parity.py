"""Check that an endpoint scores known texts as the local model does, before serving.

The local model scores one text at a time, in fp32 and in the engine's dtype, and is then unloaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.remote.reward_config import RemoteRewardConfig

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.models.reward import RewardModel

# Largest accepted difference, relative for scores beyond 1. It allows for other kernels, another
# order of summation, and rounding of every layer to the engine's dtype. Where this rounding alone
# changes the local model's scores more, `ERRORS_ALLOWED` times as much is accepted.
TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}


class KnownScores(NamedTuple):
    """Known texts, the local model's score of each, and the largest difference accepted."""

    texts: list[Text]
    scores: list[float]
    tolerance: float


class RemoteParity(NamedTuple):
    """Result of the parity self-test.

    `drift`: largest difference found. `tolerance`: largest difference accepted.
    """

    drift: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.drift <= self.tolerance


def known_scores(config: RemoteRewardConfig) -> KnownScores:
    """Score the known texts with the model in `local_folder`.

    Raises:
        ConfigError: the folder holds no model that can be loaded.
    """
    import torch

    from touchstone_rewards.reward_server.models.config import RewardModelConfig
    from touchstone_rewards.reward_server.models.parity import ERRORS_ALLOWED, KNOWN_TEXTS
    from touchstone_rewards.reward_server.models.reward import load_reward_model

    local = RewardModelConfig(
        model=config.local_folder or "",
        device="cpu",
        dtype="float32",
        template="plain" if config.template == "plain" else "chat",
        append_eos=config.append_eos,
        pad_token=config.pad_token,
    )
    texts = [Text("Tell me a story.", text) for text in KNOWN_TEXTS]
    model = load_reward_model(local)
    try:
        exact = rounded = _one_by_one(model, texts, config)
        if config.dtype != local.dtype:
            model.convert(getattr(torch, config.dtype))
            rounded = _one_by_one(model, texts, config)
    finally:
        model.close()
    error = _drift(rounded, exact)
    usual = TOLERANCE[config.dtype] * max(1.0, *(abs(score) for score in exact))
    measured = ERRORS_ALLOWED * error if math.isfinite(error) else 0.0
    return KnownScores(texts, exact, max(usual, measured))


def compared(known: KnownScores, found: Sequence[float]) -> RemoteParity:
    """Compare an endpoint's scores of the known texts with the local model's."""
    return RemoteParity(_drift(found, known.scores), known.tolerance)


def _one_by_one(
    model: RewardModel, texts: Sequence[Text], config: RemoteRewardConfig
) -> list[float]:
    prepared: list[Any] = model.prepare(texts)
    scores = [output.score for one in prepared for output in model.run([one])]
    return [1 / (1 + math.exp(-score)) for score in scores] if config.activation else scores


def _drift(found: Sequence[float], known: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(found, known, strict=True))
