"""LLaMA-Factory's PPO, `reward_model_type: api`: whole decoded texts, special tokens kept.

Prompt and response come as one text. In a chat template that is known they are told apart as LIMR's
are, so that rules judge the response alone and the ground truth comes from the operator's file; a
text in another template is scored whole.

Source: LLaMA-Factory ff6d4d1, src/llamafactory/train/ppo/ppo_utils.py; api/protocol.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.texts import first_turn


class ScoreEvaluationRequest(Struct):
    messages: list[str]
    model: str = "model"


class ScoreEvaluationAnswer(Struct):
    id: str
    object: str
    model: str
    scores: list[float]


def samples(asked: ScoreEvaluationRequest) -> list[Sample]:
    turns = [first_turn(message) for message in asked.messages]
    return [Sample(str(i), response, prompt) for i, (prompt, response) in enumerate(turns)]


def body(asked: ScoreEvaluationRequest, verdicts: Sequence[FormatVerdict]) -> ScoreEvaluationAnswer:
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
    texts=lambda asked: asked.messages,
    body=body,
)
