"""OpenRLHF, `--reward.remote_url`: one text per request, with its prompt and label.

`query` is prompt and response as one decoded text, special tokens included. The response is the
text after the prompt, or after the rest of the prompt if OpenRLHF truncated it on the left. A query
that does not contain its prompt gets no reward. Given several URLs, releases use one per call, in
turn (0.11.2); some commits send all samples to the first and empty lists to the others, which are
answered with empty lists. If a label is an object with the key `ground_truth`, its other keys are
metadata. `extra_logs` has numbers only, because the trainer converts them to tensors.

Source: OpenRLHF 3c3be62 and 0.11.2, openrlhf/utils/agent.py, `SingleTurnAgentExecutor`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict, Refused
from touchstone_rewards.reward_server.errors import InvalidRequest, sample_error
from touchstone_rewards.reward_server.schemas import Sample, TruthOnTheWire, truth_and_metadata
from touchstone_rewards.reward_server.texts import after_prompt


class OpenRlhfRequest(Struct):
    query: list[str]
    prompts: list[str] | None = None
    labels: list[TruthOnTheWire] | None = None


class OpenRlhfAnswer(Struct):
    """The answer. `scores` are the rewards clipped to 0…1, for OpenRLHF's dynamic filtering."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def samples(asked: OpenRlhfRequest) -> list[Sample | Refused]:
    """Return one sample per query.

    Raises:
        InvalidRequest: the lists differ in length.
    """
    count = len(asked.query)
    prompts = asked.prompts if asked.prompts is not None else [""] * count
    labels = asked.labels if asked.labels is not None else [None] * count
    if not len(prompts) == len(labels) == count:
        raise InvalidRequest(
            f"got {count} query, {len(prompts)} prompts and {len(labels)} labels; expected as many "
            "of each"
        )
    return [
        _sample(i, query, prompt, label)
        for i, (query, prompt, label) in enumerate(zip(asked.query, prompts, labels, strict=True))
    ]


def _sample(place: int, query: str, prompt: str, label: TruthOnTheWire) -> Sample | Refused:
    response = after_prompt(query, prompt)
    if response is None:
        why = (
            f"query {place} does not contain its prompt, so its response is unknown; with an empty "
            "prompt, the whole query is scored"
        )
        return Refused(str(place), sample_error("missing_field", why))
    truth, metadata = truth_and_metadata(label)
    return Sample(str(place), response, prompt or None, truth, metadata=metadata)


def body(_: OpenRlhfRequest, verdicts: Sequence[FormatVerdict]) -> OpenRlhfAnswer:
    """Return rewards, clipped rewards and the numbers to log."""
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
    own_keys=frozenset({"no_reward"}),
)
