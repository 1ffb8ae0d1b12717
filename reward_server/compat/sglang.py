"""SGLang's `/v1/embeddings`, as verl's reward loop calls a discriminative reward model.

The reward is the last number of `embedding`. Tokens are not counted: `usage` is zero.

Source: verl 1dda039, verl/experimental/reward_loop/reward_loop.py, `compute_score_disrm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import Struct, field

from touchstone_rewards.reward_server.compat.format import FormatVerdict
from touchstone_rewards.reward_server.compat.vllm import VLLM, TextsRequest, Usage


class SglangEmbedding(Struct):
    object: str
    embedding: list[float]
    index: int


class EmbeddingsAnswer(Struct):
    object: str
    data: list[SglangEmbedding]
    model: str
    usage: Usage = field(default_factory=Usage)


def body(asked: TextsRequest, verdicts: Sequence[FormatVerdict]) -> EmbeddingsAnswer:
    """Return one embedding per text: its reward."""
    data = [SglangEmbedding("embedding", [verdict.reward], i) for i, verdict in enumerate(verdicts)]
    return EmbeddingsAnswer("list", data, asked.model or "")


SGLANG = replace(
    VLLM,
    name="sglang",
    path="sglang/v1/embeddings",
    summary="SGLang's embeddings API, as verl calls it for rewards",
    example={"model": "reward-model", "input": "What is 6 + 40? 46."},
    answer=EmbeddingsAnswer,
    body=body,
)
