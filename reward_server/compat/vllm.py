"""vLLM's `/classify`, as verl's reward loop asks a discriminative reward model, and its `/pooling`,
as reward models are asked elsewhere.

`input` is the whole templated text; the reward stands in the last place of `probs` or `data`.
`/pooling` takes a chat as `messages` too: its last message is the response. Tokens are not
counted: `usage` is zero.

Source: verl 1dda039, verl/experimental/reward_loop/reward_loop.py, `compute_score_disrm`; vLLM
01cfbaf, vllm/entrypoints/pooling/classify/protocol.py and .../pooling/protocol.py.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.schemas import Message, Sample, text_of_turn


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


class PoolingRequest(Struct):
    """What `/pooling` is sent: texts, or one chat. `task`: one number a text is all there is."""

    input: str | list[str] | None = None
    messages: list[Message] | None = None
    model: str | None = None
    task: Literal["classify", "embed"] | None = None


class Pooled(Struct):
    index: int
    object: str
    data: list[float]


class PoolingAnswer(Struct):
    id: str
    object: str
    created: int
    model: str
    data: list[Pooled]
    usage: Usage = field(default_factory=Usage)


def samples(asked: TextsRequest) -> list[Sample]:
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    return [Sample(str(i), text) for i, text in enumerate(texts)]


def body(asked: TextsRequest, verdicts: Sequence[FormatVerdict]) -> ClassifyAnswer:
    data = [Classification(i, None, [verdict.reward], 1) for i, verdict in enumerate(verdicts)]
    return ClassifyAnswer(
        f"classify-{uuid.uuid4().hex}", "list", int(time.time()), asked.model or "", data
    )


def pooling_samples(asked: PoolingRequest) -> list[Sample]:
    if (asked.input is None) == (asked.messages is None):
        raise InvalidRequest("expected either input, a text or several, or messages, one chat")
    if asked.input is not None:
        return samples(TextsRequest(asked.input))
    if not asked.messages:
        raise InvalidRequest(
            "messages is empty; expected a chat whose last message is to be judged"
        )
    *before, last = asked.messages
    return [Sample("0", text_of_turn(last.content), prompt=before)]


def pooling_body(asked: PoolingRequest, verdicts: Sequence[FormatVerdict]) -> PoolingAnswer:
    data = [Pooled(i, "pooling", [verdict.reward]) for i, verdict in enumerate(verdicts)]
    created = int(time.time())
    return PoolingAnswer(f"pool-{uuid.uuid4().hex}", "list", created, asked.model or "", data)


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

VLLM_POOLING = Format(
    name="vllm",
    path="vllm/pooling",
    summary="vLLM's pooling API, by which reward models are asked",
    example={"model": "reward-model", "input": "What is 6 + 40? 46."},
    request=PoolingRequest,
    answer=PoolingAnswer,
    samples=pooling_samples,
    body=pooling_body,
)
