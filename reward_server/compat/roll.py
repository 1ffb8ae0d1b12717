"""ROLL's RemoteRewardSystemWorker: one task submitted, its result asked for by an id.

A task is scored when it is submitted, and its id *is* the result: nothing is kept, so that any
process and any server that is asked for it has it. ROLL waits 20 s for an id, hence the deadline.

ROLL trains on 0 where no number comes. So a sample without a reward, and a task that is refused,
gets an id that carries the reason: ROLL reads that text as the score, and the tensor that it makes
of its scores fails. It keeps rewards in float16.

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
FOREIGN = "no_reward: this server gave no such reward_request_id; submit the task to it first"


class RollTask(Struct):
    """What ROLL submits, as far as it decides about a reward."""

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
    """`reward_score` is a number, or the reason why there is none."""

    reward_score: float | str
    dimention_reward_score: dict[str, dict[str, float]] = {}
    errcode: int = 0
    errmsg: str = ""


def samples(asked: RollTask) -> list[Sample]:
    truth, metadata = truth_and_metadata(asked.reward_info)
    group = None if asked.data_id is None else str(asked.data_id)
    return [Sample("0", asked.response, asked.prompt, truth, group, metadata=metadata)]


def submitted(_: RollTask, verdicts: Sequence[FormatVerdict]) -> RollSubmitted:
    [verdict] = verdicts
    return _carrying(verdict.reward, verdict.scores)


def refused(error: RequestError) -> RollSubmitted:
    """Answer where there is no reward: at any other status ROLL makes 25 tries, then it has 0."""
    return _carrying(f"{error.code}: {error}", {})


def _carrying(score: float | str, scores: dict[str, float]) -> RollSubmitted:
    parts = {name: {"score": value} for name, value in scores.items()}
    result = msgspec.json.encode(RollResult(score, parts))
    return RollSubmitted(urlsafe_b64encode(result).decode("ascii"))


def result_of(body: bytes) -> RollResult:
    """Return the result that an id carries.

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
    summary="ROLL's reward system: a task, scored at once; the answer is the id of its result",
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
        "The result of a task of ROLL's: its id stands in the body",
        RollResult(1.0, {"math": {"score": 1.0}}),
        answer_to=result_of,
    ),
)
