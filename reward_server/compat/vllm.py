"""vLLM's `/classify`, as verl's reward loop asks a discriminative reward model.

`input` is the whole templated text; the reward stands in the last place of `probs`. Tokens are
not counted: `usage` is zero.

Source: verl 1dda039, verl/experimental/reward_loop/reward_loop.py, `compute_score_disrm`; vLLM,
vllm/entrypoints/pooling/classify/protocol.py.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from msgspec import Struct, field

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.schemas import Sample


class TextsRequest(Struct):
    """What both engines are sent. `use_activation` is read by no scorer: scores are raw."""

    input: str | list[str]
    model: str | None = None


class Usage(Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: dict[str, int] | None = None


class Classification(Struct):
    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassifyAnswer(Struct):
    id: str
    object: str
    created: int
    model: str
    data: list[Classification]
    usage: Usage = field(default_factory=Usage)


def samples(asked: TextsRequest) -> list[Sample]:
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    return [Sample(str(i), text) for i, text in enumerate(texts)]


def body(asked: TextsRequest, verdicts: Sequence[FormatVerdict]) -> ClassifyAnswer:
    data = [Classification(i, None, [verdict.reward], 1) for i, verdict in enumerate(verdicts)]
    return ClassifyAnswer(
        f"classify-{uuid.uuid4().hex}", "list", int(time.time()), asked.model or "", data
    )


VLLM = Format(
    name="vllm",
    path="vllm/classify",
    summary="vLLM's classify API, as verl asks it for rewards",
    example={"model": "reward-model", "input": "What is 6 + 40? 46.", "use_activation": False},
    request=TextsRequest,
    answer=ClassifyAnswer,
    samples=samples,
    body=body,
)
