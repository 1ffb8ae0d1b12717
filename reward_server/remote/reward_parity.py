"""Check that an endpoint scores known texts as the local model does, before serving.

The local model scores one text at a time in fp32 and is then unloaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.remote.reward_config import RemoteRewardConfig

# Largest accepted difference, relative for scores beyond 1. It allows for other kernels, another
# order of summation, and rounding of every layer to the engine's dtype.
TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}


class KnownScores(NamedTuple):
    """Known texts and the local model's score of each."""

    texts: list[Text]
    scores: list[float]


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
    from touchstone_rewards.reward_server.models.config import RewardModelConfig
    from touchstone_rewards.reward_server.models.parity import KNOWN_TEXTS
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
        prepared: list[Any] = model.prepare(texts)
        scores = [output.score for one in prepared for output in model.run([one])]
    finally:
        model.close()
    if config.activation:
        scores = [1 / (1 + math.exp(-score)) for score in scores]
    return KnownScores(texts, scores)


def compared(
    config: RemoteRewardConfig, known: Sequence[float], found: Sequence[float]
) -> RemoteParity:
    """Compare an endpoint's scores of the known texts with the local model's."""
    drift = max(abs(one - other) for one, other in zip(known, found, strict=True))
    size = max(1.0, *(abs(score) for score in known))
    return RemoteParity(drift, TOLERANCE[config.dtype] * size)
