"""LLaMA-Factory's PPO, `reward_model_type: api`: each message is prompt and response as one decoded
text, special tokens included.

In a known chat template, prompt and response are separated as for LIMR: rules judge the response
alone, and the ground truth is looked up in the operator's file. A text in another template is
scored as a whole.

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
    """Return one sample per message."""
    turns = [first_turn(message) for message in asked.messages]
    return [Sample(str(i), response, prompt) for i, (prompt, response) in enumerate(turns)]


def body(asked: ScoreEvaluationRequest, verdicts: Sequence[FormatVerdict]) -> ScoreEvaluationAnswer:
    """Return the rewards as `scores`."""
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
