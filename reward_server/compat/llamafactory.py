"""LLaMA-Factory's PPO, `reward_model_type: api`: whole decoded texts, special tokens kept.

It sends neither prompts nor ground truths, so this is for reward models with `template: plain`
and for rules that read the response alone.

Source: LLaMA-Factory ff6d4d1, src/llamafactory/train/ppo/ppo_utils.py; api/protocol.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import Format, Verdict
from touchstone_rewards.reward_server.schemas import Sample


class ScoreEvaluationRequest(Struct):
    messages: list[str]
    model: str = "model"


class ScoreEvaluationAnswer(Struct):
    id: str
    object: str
    model: str
    scores: list[float]


def samples(asked: ScoreEvaluationRequest) -> list[Sample]:
    return [Sample(str(i), message) for i, message in enumerate(asked.messages)]


def body(asked: ScoreEvaluationRequest, verdicts: Sequence[Verdict]) -> ScoreEvaluationAnswer:
    scores = [verdict.reward for verdict in verdicts]
    return ScoreEvaluationAnswer(
        f"scoreval-{uuid.uuid4().hex}", "score.evaluation", asked.model, scores
    )


LLAMAFACTORY = Format(
    name="llamafactory",
    path="llamafactory/v1/score/evaluation",
    summary="LLaMA-Factory's score evaluation API",
    example={"model": "model", "messages": ["<|im_start|>user\nHi<|im_end|>\n…"]},
    request=ScoreEvaluationRequest,
    answer=ScoreEvaluationAnswer,
    samples=samples,
    body=body,
)
