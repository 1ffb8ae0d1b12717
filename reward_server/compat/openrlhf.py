"""OpenRLHF, `--reward.remote_url`: one finished text a request, its prompt and label beside it.

`query` is prompt and response as one decoded text, special tokens kept; the response is what
stands behind the prompt. A query that does not hold its prompt is refused. With several URLs the
trainer sends some of them empty lists and expects empty lists back. `extra_logs` holds numbers
only, because the trainer makes tensors of them.

Source: OpenRLHF 3c3be62, openrlhf/utils/agent.py, `SingleTurnAgentExecutor`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import Format, GroundTruth, Verdict
from touchstone_rewards.reward_server.compat.text import after_prompt
from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.schemas import Sample


class OpenRlhfRequest(Struct):
    query: list[str]
    prompts: list[str] | None = None
    labels: list[GroundTruth] | None = None


class OpenRlhfAnswer(Struct):
    """`scores` are the rewards clipped to 0…1: dynamic filtering compares their mean."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def samples(asked: OpenRlhfRequest) -> list[Sample]:
    """Raises InvalidRequest if lists differ in length or a query does not hold its prompt."""
    count = len(asked.query)
    prompts = asked.prompts if asked.prompts is not None else [""] * count
    labels = asked.labels if asked.labels is not None else [None] * count
    if not len(prompts) == len(labels) == count:
        raise InvalidRequest(
            f"{count} query, {len(prompts)} prompts and {len(labels)} labels came; send as many"
        )
    return [
        Sample(str(i), _response(i, query, prompt), prompt or None, label)
        for i, (query, prompt, label) in enumerate(zip(asked.query, prompts, labels, strict=True))
    ]


def _response(place: int, query: str, prompt: str) -> str:
    response = after_prompt(query, prompt)
    if response is None:
        raise InvalidRequest(
            f"query {place} does not hold its prompt, so its response is not known; was the prompt "
            "truncated? An empty prompt has the whole query scored"
        )
    return response


def body(_: OpenRlhfRequest, verdicts: Sequence[Verdict]) -> OpenRlhfAnswer:
    names = verdicts[0].scores if verdicts else {}
    rewards = [verdict.reward for verdict in verdicts]
    logs = {name: [verdict.scores[name] for verdict in verdicts] for name in names}
    if verdicts:
        logs["no_reward"] = [float(verdict.error is not None) for verdict in verdicts]
    return OpenRlhfAnswer(rewards, [min(max(reward, 0.0), 1.0) for reward in rewards], logs)


OPENRLHF = Format(
    name="openrlhf",
    path="openrlhf/get_reward",
    summary="OpenRLHF's remote reward model",
    example={
        "query": ["What is 6 + 40? It is \\boxed{46}.<|im_end|>"],
        "prompts": ["What is 6 + 40?"],
        "labels": ["46"],
    },
    request=OpenRlhfRequest,
    answer=OpenRlhfAnswer,
    samples=samples,
    body=body,
)
