"""slime and miles, `--rm-type remote_rm --rm-url`: one sample per request, the body is the reward.

`rm` returns a bare number. `rm_dict` returns a flat dict for `--reward-key score`: the reward as
`score`, and the scorers' numbers. xtuner's judger reads `score` too, and sends the sample's
metadata as `extra_info`. If a label is an object with the key `ground_truth`, its other keys are
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
    """The fields that slime, miles and xtuner send, and those that a `custom_rm_path` may add."""

    response: str
    prompt: str | list[Message] | None = None
    label: TruthOnTheWire = None
    extra_info: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    signals: dict[str, Number | list[Number] | None] | None = None
    group_id: str | None = None


class ReceivedSlimeRequest(SlimeRequest):
    """The same, with fields that most scorers never read as JSON text; empty if absent or null."""

    extra_info: Raw = NOTHING  # pyright: ignore[reportIncompatibleVariableOverride]
    metadata: Raw = NOTHING  # pyright: ignore[reportIncompatibleVariableOverride]
    signals: Raw = NOTHING  # pyright: ignore[reportIncompatibleVariableOverride]


def samples(asked: ReceivedSlimeRequest) -> list[Sample]:
    """Return the one sample of a request."""
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
    """Return the reward."""
    return verdicts[0].reward


def flat_dict(_: SlimeRequest, verdicts: Sequence[FormatVerdict]) -> dict[str, float]:
    """Return the reward as `score`, and the scorers' numbers."""
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
