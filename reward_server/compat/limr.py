"""LIMR's fork of OpenRLHF, `--remote_rm_url`: each query is prompt and response as one text.

The problem is cut out of the chat template, as the fork's own server does, and its ground truth is
looked up in the operator's file. A text in an unknown template is scored as a whole.

Source: GAIR-NLP/LIMR 98ebf1b, openrlhf/utils/remote_rm_utils.py and openrlhf/cli/serve_rm.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.texts import first_turn


class LimrRequest(Struct):
    query: list[str]


class LimrAnswer(Struct):
    rewards: list[float]


def samples(asked: LimrRequest) -> list[Sample]:
    """Return one sample per query."""
    turns = [first_turn(query) for query in asked.query]
    return [Sample(str(i), response, prompt) for i, (prompt, response) in enumerate(turns)]


def body(_: LimrRequest, verdicts: Sequence[FormatVerdict]) -> LimrAnswer:
    """Return the rewards."""
    return LimrAnswer([verdict.reward for verdict in verdicts])


LIMR = Format(
    name="limr",
    path="limr/get_reward",
    summary="The remote reward model of LIMR's fork of OpenRLHF",
    example={
        "query": [
            "<|im_start|>user\nWhat is 6 + 40?<|im_end|>\n"
            "<|im_start|>assistant\nIt is \\boxed{46}.<|im_end|>"
        ]
    },
    request=LimrRequest,
    answer=LimrAnswer,
    samples=samples,
    texts=lambda asked: asked.query,
    body=body,
)
