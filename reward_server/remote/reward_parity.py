"""Does an endpoint score as the same model does here? Known texts, scored by both, before serving.

In: the model's folder. Out: the scores that an endpoint must give, and how far off it is. The local
model runs in fp32, one text at a time, and is given back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.remote.reward_config import RemoteRewardConfig

# Largest difference, as a share of the scores' size where that is over 1: other kernels, other
# orders of sums, and every layer rounded to the engine's dtype.
TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}


class KnownScores(NamedTuple):
    """Texts, and what the local model says of each."""

    texts: list[Text]
    scores: list[float]


class RemoteParity(NamedTuple):
    """`drift`: the largest difference found; `tolerance`: the largest that is let through."""

    drift: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.drift <= self.tolerance


def known_scores(config: RemoteRewardConfig) -> KnownScores:
    """Return what the model in `local_folder` says of the known texts.

    Raises:
        ConfigError: there is no model there that can be served.
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
    """Return how far an endpoint's scores of the known texts are from the local model's."""
    drift = max(abs(one - other) for one, other in zip(known, found, strict=True))
    size = max(1.0, *(abs(score) for score in known))
    return RemoteParity(drift, TOLERANCE[config.dtype] * size)
