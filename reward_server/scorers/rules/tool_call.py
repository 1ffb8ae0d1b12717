"""Check that a response calls the right tools with the right arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Message, Sample, text_of_turn
from touchstone_rewards.reward_server.scorers.rules.rule import (
    METADATA,
    ResponsePart,
    Rule,
    RuleConfig,
    RuleVerdict,
    Unscorable,
    field,
    no_part,
    part_of,
    reads_of,
    shown,
    truths,
)
from touchstone_rewards.reward_server.scorers.rules.tool_call_forms import (
    FORMS,
    CallForm,
    NoCalls,
    ToolCall,
    calls_in,
    calls_of_value,
)

MOST_CALLS = 128
REMEMBERED_CHARS = 4_000  # of a ground truth to cache; longer ones would fill the memory


class ToolCallConfig(RuleConfig):
    """Config of `tool_call`."""

    calls_from: str = Field(
        default="ground_truth",
        pattern=r"^(ground_truth|metadata\..+)$",
        description="field with the right calls; as text, in any of the forms",
    )
    forms: list[CallForm] = Field(
        default=list(FORMS), min_length=1, description="forms in which calls are recognized"
    )
    order: Literal["any", "as_listed"] = Field(
        default="any", description="whether the calls must come in the order of the reference"
    )
    extra_calls: bool = Field(
        default=False, description="allow calls that the reference does not have"
    )
    extra_arguments: bool = Field(
        default=False, description="allow arguments that the reference does not have"
    )
    partial: bool = Field(
        default=False, description="score the share of names and arguments that are right"
    )
    part: ResponsePart = "said"


class ToolCallScorer(Rule[ToolCallConfig]):
    """Score 1 if the calls are those of the reference, else 0; with `partial`, the share that is
    right.

    In a response that is a list of messages, the calls of all assistant messages count.
    """

    version = "2"
    sees_turns = True
    config_type = ToolCallConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.reads = reads_of(self.config.calls_from)

    def judge(self, sample: Sample) -> RuleVerdict:
        wanted = self._wanted(sample)
        try:
            given = self._given(sample.response)
        except NoCalls as error:
            return RuleVerdict(
                0.0, {"rule": "a call that cannot be read", "error": shown(str(error))}
            )
        if given is None:
            return no_part(self.config.part)
        told: dict[str, Any] = {"calls": [shown(call.name) for call in given[:20]]}
        if len(given) > MOST_CALLS:
            return RuleVerdict(0.0, told | {"rule": f"more than {MOST_CALLS} calls"})
        if not wanted:
            value = float(not given and _says_something(sample.response))
            return RuleVerdict(value, told | {"rule": "no call is expected"})
        pairs = self._paired(wanted, given)
        shares = [0.0 if got is None else self._share(want, got) for want, got in pairs]
        extra = len(given) - sum(got is not None for _, got in pairs)
        charged = 0 if self.config.extra_calls else extra
        value = sum(shares) / (len(wanted) + charged)
        told |= {"right": sum(share == 1 for share in shares), "of": len(wanted), "extra": extra}
        if not self.config.partial:
            value = float(all(share == 1 for share in shares) and not charged)
        return RuleVerdict(value, told)

    def _given(self, response: str | list[Message]) -> list[ToolCall] | None:
        """Return the calls in the response; None if the judged part is missing."""
        if isinstance(response, str):
            part = part_of(response, self.config.part)
            return None if part is None else calls_in(part, self.config.forms)
        found: list[ToolCall] = []
        for turn in response:
            if turn.role == "assistant":
                part = part_of(text_of_turn(turn.content), self.config.part)
                found += calls_in(part, self.config.forms) if part else []
                found += calls_of_value(turn.tool_calls or [])
        return found

    def _wanted(self, sample: Sample) -> list[ToolCall]:
        source = self.config.calls_from
        try:
            if source.startswith(METADATA):
                found = field(sample, source)
                wanted = calls_in(found, FORMS) if isinstance(found, str) else calls_of_value(found)
                empty = found == [] or found == "[]"
            else:
                texts = truths(sample)
                wanted = [call for text in texts for call in _remembered(text)]
                empty = texts == ["[]"]
        except NoCalls as error:
            raise Unscorable("bad_ground_truth", f"{source}: {error}") from None
        if not wanted and not empty:
            raise Unscorable("bad_ground_truth", f"{source} has no tool call in a known form")
        if len(wanted) > MOST_CALLS:
            raise Unscorable("bad_ground_truth", f"{source} has more than {MOST_CALLS} calls")
        return wanted

    def _paired(
        self, wanted: Sequence[ToolCall], given: Sequence[ToolCall]
    ) -> list[tuple[ToolCall, ToolCall | None]]:
        """Pair each expected call with a given one: at the same position, or the
        best one left with its name."""
        if self.config.order == "as_listed" and not self.config.extra_calls:
            padded = [*given, *[None] * len(wanted)][: len(wanted)]
            return list(zip(wanted, padded, strict=True))
        left = list(given)
        pairs: list[tuple[ToolCall, ToolCall | None]] = []
        for want in wanted:
            best = max(left, key=lambda got: self._share(want, got), default=None)
            if best is None or self._share(want, best) == 0:
                pairs.append((want, None))
                continue
            at = next(at for at, got in enumerate(left) if got is best)
            left = (
                left[at + 1 :] if self.config.order == "as_listed" else left[:at] + left[at + 1 :]
            )
            pairs.append((want, best))
        return pairs

    def _share(self, want: ToolCall, got: ToolCall) -> float:
        """Return the share of name and arguments that is right; 0 if the name differs."""
        if want.name != got.name:
            return 0.0
        right = sum(got.arguments.get(key) == value for key, value in want.arguments.items())
        known = sum(key in got.arguments for key in want.arguments)
        extra = 0 if self.config.extra_arguments else len(got.arguments) - known
        return (1 + right) / (1 + len(want.arguments) + extra)


def _says_something(response: str | list[Message]) -> bool:
    if isinstance(response, str):
        return bool(response.strip())
    return any(turn.role == "assistant" and text_of_turn(turn.content).strip() for turn in response)


@lru_cache(maxsize=1024)
def _read_once(text: str) -> list[ToolCall]:
    return calls_in(text, FORMS)


def _remembered(text: str) -> list[ToolCall]:
    """Return the calls of a ground truth, cached because the samples of a group share it."""
    return _read_once(text) if len(text) <= REMEMBERED_CHARS else calls_in(text, FORMS)
