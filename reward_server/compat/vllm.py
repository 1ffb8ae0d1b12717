"""vLLM's `/classify`, as verl's reward loop calls a discriminative reward model, and its
`/pooling`, the usual route for reward models.

`input` is the whole templated text. The reward is the last number of `probs` or `data`. `/pooling`
also accepts a chat as `messages`, whose last message is the response. Tokens are not counted:
`usage` is zero.

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
    """The request to either engine. `use_activation` is ignored: rewards are not transformed."""

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
    """A request to `/pooling`: texts or one chat. Either `task` returns one number per text."""

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
    """Return one sample per text."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    return [Sample(str(i), text) for i, text in enumerate(texts)]


def body(asked: TextsRequest, verdicts: Sequence[FormatVerdict]) -> ClassifyAnswer:
    """Return one class per text, whose probability is the reward."""
    data = [Classification(i, None, [verdict.reward], 1) for i, verdict in enumerate(verdicts)]
    return ClassifyAnswer(
        f"classify-{uuid.uuid4().hex}", "list", int(time.time()), asked.model or "", data
    )


def pooling_samples(asked: PoolingRequest) -> list[Sample]:
    """Return one sample per text, or one for a chat.

    Raises:
        InvalidRequest: there are both or neither, or the chat is empty.
    """
    if (asked.input is None) == (asked.messages is None):
        got = "neither input nor messages" if asked.input is None else "both input and messages"
        raise InvalidRequest(f"got {got}; expected input (texts) or messages (one chat)")
    if asked.input is not None:
        return samples(TextsRequest(asked.input))
    if not asked.messages:
        raise InvalidRequest(
            "messages is empty; expected a chat whose last message is the response"
        )
    *before, last = asked.messages
    return [Sample("0", text_of_turn(last.content), prompt=before)]


def pooling_body(asked: PoolingRequest, verdicts: Sequence[FormatVerdict]) -> PoolingAnswer:
    """Return one number per text: its reward."""
    data = [Pooled(i, "pooling", [verdict.reward]) for i, verdict in enumerate(verdicts)]
    created = int(time.time())
    return PoolingAnswer(f"pool-{uuid.uuid4().hex}", "list", created, asked.model or "", data)


VLLM = Format(
    name="vllm",
    path="vllm/classify",
    summary="vLLM's classify API, as verl calls it for rewards",
    example={"model": "reward-model", "input": "What is 6 + 40? 46.", "use_activation": False},
    request=TextsRequest,
    answer=ClassifyAnswer,
    samples=samples,
    body=body,
)

VLLM_POOLING = Format(
    name="vllm",
    path="vllm/pooling",
    summary="vLLM's pooling API, the usual route for reward models",
    example={"model": "reward-model", "input": "What is 6 + 40? 46."},
    request=PoolingRequest,
    answer=PoolingAnswer,
    samples=pooling_samples,
    body=pooling_body,
)
