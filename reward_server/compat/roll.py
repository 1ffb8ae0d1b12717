"""ROLL's RemoteRewardSystemWorker: it submits a task, then fetches the result by the task's id.

A task is scored on submission, and its id encodes the result. The server stores nothing, so any
process or server can answer the second request. ROLL waits 20 s for an id, hence the deadline.

ROLL trains on 0 if it gets no number. Therefore the id of a refused task, or of a sample without a
reward, encodes the reason: ROLL reads this text as the score and fails to make a tensor of it. ROLL
stores rewards in float16.

Source: ROLL 8eb27cc, roll/pipeline/rlvr/rewards/remote_reward_system_worker.py.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import FixedAnswer, Format, FormatVerdict
from touchstone_rewards.reward_server.errors import RequestError
from touchstone_rewards.reward_server.schemas import Sample, TruthOnTheWire, truth_and_metadata

DEADLINE_MS = 15_000
FOREIGN = "no_reward: no task of this server has this reward_request_id; submit the task first"


class RollTask(Struct):
    """The fields of a submitted task that are read."""

    response: str
    prompt: str | None = None
    reward_info: TruthOnTheWire = None
    data_id: str | int | None = None


class RollSubmitted(Struct):
    reward_request_id: str
    errcode: int = 0
    errmsg: str = ""


class RollAsked(Struct):
    reward_request_id: str


class RollResult(Struct):
    """The result. `reward_score` is the reward, or the reason why there is none."""

    reward_score: float | str
    dimention_reward_score: dict[str, dict[str, float]] = {}
    errcode: int = 0
    errmsg: str = ""


def samples(asked: RollTask) -> list[Sample]:
    """Return the one sample of a task."""
    truth, metadata = truth_and_metadata(asked.reward_info)
    group = None if asked.data_id is None else str(asked.data_id)
    return [Sample("0", asked.response, asked.prompt, truth, group, metadata=metadata)]


def submitted(_: RollTask, verdicts: Sequence[FormatVerdict]) -> RollSubmitted:
    """Return an id that encodes the result."""
    [verdict] = verdicts
    return _carrying(verdict.reward, verdict.scores)


def refused(error: RequestError) -> RollSubmitted:
    """Return an id that encodes the error. After any status but 200, ROLL retries, then uses 0."""
    return _carrying(f"{error.code}: {error}", {})


def _carrying(score: float | str, scores: dict[str, float]) -> RollSubmitted:
    parts = {name: {"score": value} for name, value in scores.items()}
    result = msgspec.json.encode(RollResult(score, parts))
    return RollSubmitted(urlsafe_b64encode(result).decode("ascii"))


def result_of(body: bytes) -> RollResult:
    """Return the result that the id in a request encodes.

    Example:
        >>> asked = {"reward_request_id": _carrying(0.5, {"math": 0.5}).reward_request_id}
        >>> result_of(msgspec.json.encode(asked)).reward_score
        0.5
    """
    try:
        asked = msgspec.json.decode(body, type=RollAsked)
        return msgspec.json.decode(urlsafe_b64decode(asked.reward_request_id), type=RollResult)
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError, ValueError):
        return RollResult(FOREIGN)


_EXAMPLE: dict[str, Any] = {
    "data_id": "gsm8k-12",
    "rollout_id": "3",
    "prompt": "What is 6 + 40?",
    "response": "It is \\boxed{46}.",
    "reward_info": {"ground_truth": "46"},
}
ROLL = Format(
    name="roll",
    path="roll/submit_task",
    summary="ROLL's reward system: score a task and return the id of its result",
    example=_EXAMPLE,
    request=RollTask,
    answer=RollSubmitted,
    samples=samples,
    body=submitted,
    refused=refused,
    deadline_ms=DEADLINE_MS,
)
ROLL_ANSWERS = (
    FixedAnswer(
        "GET",
        "/compat/roll/task_result",
        "ROLL's reward system: the result of a task, whose id is in the body",
        RollResult(1.0, {"math": {"score": 1.0}}),
        answer_to=result_of,
    ),
)
