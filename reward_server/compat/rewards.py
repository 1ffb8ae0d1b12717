"""The LIMR workflow on LLaMA-Factory: `sample_ids`, `queries` and `responses` in, `rewards` out.

It sends no ground truths: they are looked up in the operator's file by id or query.

Source: `RemoteRewardClient` of the LLaMA-Factory-FOR-LIMR project.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.schemas import Sample


class RewardsRequest(Struct):
    sample_ids: list[str | int]
    queries: list[str]
    responses: list[str]


class RewardsAnswer(Struct):
    rewards: list[float]


def samples(asked: RewardsRequest) -> list[Sample]:
    """Return one sample per id.

    Raises:
        InvalidRequest: the lists differ in length.
    """
    counts = len(asked.sample_ids), len(asked.queries), len(asked.responses)
    if len(set(counts)) > 1:
        raise InvalidRequest(
            f"got {counts[0]} sample_ids, {counts[1]} queries and {counts[2]} responses; expected "
            "as many of each"
        )
    rows = zip(asked.sample_ids, asked.queries, asked.responses, strict=True)
    return [Sample(str(sample_id), response, query) for sample_id, query, response in rows]


def body(_: RewardsRequest, verdicts: Sequence[FormatVerdict]) -> RewardsAnswer:
    """Return the rewards."""
    return RewardsAnswer([verdict.reward for verdict in verdicts])


REWARDS = Format(
    name="rewards",
    path="rewards",
    summary="sample_ids, queries and responses to rewards",
    example={
        "sample_ids": ["gsm8k-12"],
        "queries": ["What is 6 + 40?"],
        "responses": ["It is \\boxed{46}."],
    },
    request=RewardsRequest,
    answer=RewardsAnswer,
    samples=samples,
    body=body,
    sends_ids=True,
)
