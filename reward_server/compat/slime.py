"""slime and miles, `--rm-type remote_rm --rm-url`: one sample a request, the body is the reward.

`rm` answers a bare number. `rm_dict` answers a flat dict for `--reward-key score`, with the
scorers' numbers beside the score; xtuner's judger reads `score` as well, and sends `extra_info`,
which is the sample's metadata. A label may be an object with the key `ground_truth`: the others are
metadata.

Source: slime 624b824, slime/rollout/rm_hub/__init__.py; miles 31f1ca9, miles/rollout/rm_hub; xtuner
b934f46, xtuner/v1/rl/judger/native.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import Raw, Struct, json

from touchstone_rewards.reward_server.compat.format import Format, FormatVerdict
from touchstone_rewards.reward_server.received import NOTHING, ReceivedSample, is_null, joined
from touchstone_rewards.reward_server.schemas import (
    Message,
    Number,
    Sample,
    TruthOnTheWire,
    truth_and_metadata,
)


class SlimeRequest(Struct):
    """What slime, miles and xtuner send, and what a `custom_rm_path` may send beside it."""

    response: str
    prompt: str | list[Message] | None = None
    label: TruthOnTheWire = None
    extra_info: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    signals: dict[str, Number | list[Number] | None] | None = None
    group_id: str | None = None


class ReceivedSlimeRequest(SlimeRequest):
    """The same while what most scorers never read is still JSON text; absent or null: no text."""

    extra_info: Raw = NOTHING  # pyright: ignore[reportIncompatibleVariableOverride]
    metadata: Raw = NOTHING  # pyright: ignore[reportIncompatibleVariableOverride]
    signals: Raw = NOTHING  # pyright: ignore[reportIncompatibleVariableOverride]


def samples(asked: ReceivedSlimeRequest) -> list[Sample]:
    truth, metadata = truth_and_metadata(asked.label)
    sample = ReceivedSample("0", asked.response, asked.prompt, truth, asked.group_id)
    if not is_null(asked.signals):
        sample.signals = asked.signals
    given = [each for each in (asked.extra_info, asked.metadata) if not is_null(each)]
    if metadata:
        given.insert(0, Raw(json.encode(metadata)))
    if given:
        sample.metadata = joined(given)
    return [sample]


def number(_: SlimeRequest, verdicts: Sequence[FormatVerdict]) -> float:
    return verdicts[0].reward


def flat_dict(_: SlimeRequest, verdicts: Sequence[FormatVerdict]) -> dict[str, float]:
    return {**verdicts[0].scores, "score": verdicts[0].reward}


SLIME = Format(
    name="slime",
    path="slime/rm",
    summary="slime's and miles' remote_rm: a bare number",
    example={"prompt": "What is 6 + 40?", "response": "It is \\boxed{46}.", "label": "46"},
    request=SlimeRequest,
    received=ReceivedSlimeRequest,
    answer=float,
    samples=samples,
    body=number,
)
SLIME_DICT = replace(
    SLIME,
    path="slime/rm_dict",
    summary="slime's and miles' remote_rm with --reward-key score: a flat dict",
    answer=dict[str, float],
    body=flat_dict,
    own_keys=frozenset({"score"}),
)
