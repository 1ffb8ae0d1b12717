"""eval-protocol (reward-kit): `POST …/evaluate`, one conversation per request.

The response is the last turn, which must be the assistant's. A client without a ground truth sends
the turns before the response in its place; these are ignored. If the ground truth is any other list
of turns, its last assistant turn is the answer. The format allows metrics from 0 to 1: a score
outside this range is clipped and marked as not valid, and `reason` gives the score.

Source: eval-protocol python-sdk 000c2a4, eval_protocol/models.py, cli_commands/preview.py and
reward_function.py; 0.3.33, reward_function.py, `RewardFunction.__call__` (the default of a ground
truth).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, convert

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    TruthOnTheWire,
    is_list,
    is_object,
    text_of_turn,
)


class EvaluateRequest(Struct):
    """A request. `ground_truth` is an answer, a list of answers, or a list of turns."""

    messages: list[Message]
    ground_truth: TruthOnTheWire = None


class Metric(Struct):
    score: float
    is_score_valid: bool
    reason: str


class EvaluateAnswer(Struct):
    score: float
    is_score_valid: bool
    reason: str | None
    metrics: dict[str, Metric]
    error: str | None
    step_outputs: list[Any] | None = None
    trajectory_info: dict[str, Any] | None = None
    final_control_plane_info: dict[str, Any] | None = None
    agg_score: float | None = None
    standard_error: float | None = None


def samples(asked: EvaluateRequest) -> list[Sample]:
    """Return the one sample of a request.

    Raises:
        InvalidRequest: the last message is not the assistant's.
    """
    *prompt, last = asked.messages or [Message("user")]
    if last.role != "assistant":
        raise InvalidRequest(
            f"the last message has the role {last.role!r}; expected the response, role 'assistant'"
        )
    return [Sample("0", text_of_turn(last.content), prompt, _ground_truth(asked, prompt))]


def _ground_truth(asked: EvaluateRequest, prompt: list[Message]) -> TruthOnTheWire:
    truth = asked.ground_truth
    if not is_list(truth) or not truth or not all(map(_is_turn, truth)):
        return truth
    turns = [convert(turn, Message) for turn in truth]
    if turns == prompt:
        return None
    answers = [text_of_turn(turn.content) for turn in turns if turn.role == "assistant"]
    return answers[-1] if answers else None


def _is_turn(value: Any) -> bool:
    return is_object(value) and "role" in value and _is_content(value.get("content"))


def _is_content(value: Any) -> bool:
    return value is None or isinstance(value, str | list)


def body(_: EvaluateRequest, verdicts: Sequence[FormatVerdict]) -> EvaluateAnswer:
    """Return the result, one metric per scorer."""
    [verdict] = verdicts
    failed = verdict.error and f"{verdict.error.code}: {verdict.error.message}"
    metrics = {name: _metric(score, failed) for name, score in verdict.scores.items()}
    return EvaluateAnswer(verdict.reward, not failed, failed, metrics, failed)


def _metric(score: float, failed: str | None) -> Metric:
    within = 0.0 <= score <= 1.0
    reason = failed or (f"score {score:g}" if within else f"score {score:g} is outside 0…1")
    return Metric(min(max(score, 0.0), 1.0), within and not failed, reason)


EVAL_PROTOCOL = Format(
    name="eval_protocol",
    path="eval_protocol/evaluate",
    summary="eval-protocol's evaluate API",
    example={
        "messages": [
            {"role": "user", "content": "What is 6 + 40?"},
            {"role": "assistant", "content": "It is \\boxed{46}."},
        ],
        "ground_truth": "46",
        "kwargs": {},
    },
    request=EvaluateRequest,
    answer=EvaluateAnswer,
    samples=samples,
    body=body,
)
