"""Responses of several turns: extract the text for scorers of texts, and judge turn by turn.

A response that is a list of messages becomes the text of the last assistant message. For a scorer
that judges turns, each turn becomes a sample, and their scores are folded into one. Requests with
texts only pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from msgspec import field
from msgspec.structs import asdict, replace

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
)
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.turn_texts import (
    assistant_texts,
    response_text,
    text_of_message,
)

# Limits of one response; a longer one is not judged turn by turn.
MAX_TURNS, MAX_MESSAGES = 256, 1024
Fold = Literal["mean", "min", "max", "last"]


class Trajectory(Sample, gc=False):
    """A sample whose response came as messages; `response` is the text that scorers see."""

    messages: list[Message] = field(default_factory=list[Message])


def any_unusual(samples: Sequence[Sample]) -> bool:
    """Return whether any response is not a text or any sample names a profile; one check for both,
    because nearly all samples have neither."""
    for sample in samples:  # noqa: SIM110, half the time of `any`
        if sample.profile is not None or type(sample.response) is not str:
            return True
    return False


def as_texts(samples: Sequence[Sample], max_bytes: int) -> list[Sample]:
    """Return the samples with texts as responses; those that came as messages keep the messages.

    A response whose messages together exceed `max_bytes` becomes one text of all of them, which is
    then refused like any long text."""
    return [
        sample if type(sample.response) is str else _trajectory(sample, max_bytes)
        for sample in samples
    ]


def _trajectory(sample: Sample, max_bytes: int) -> Trajectory:
    messages = cast("list[Message]", sample.response)
    text, whole = response_text(messages), [text_of_message(turn) for turn in messages]
    if sum(map(len, whole)) * 4 > max_bytes and len("".join(whole).encode()) > max_bytes:
        text = "".join(whole)
    fields = asdict(sample)
    fields["response"] = text
    return Trajectory(**fields, messages=messages)


def too_long(samples: Sequence[Sample]) -> dict[int, Score]:
    """Return the indices of samples with more than `MAX_MESSAGES` messages, each with an error."""
    counts = {
        at: len(sample.messages)
        for at, sample in enumerate(samples)
        if isinstance(sample, Trajectory) and len(sample.messages) > MAX_MESSAGES
    }
    why = "the response has {} messages, and at most {} are judged"
    return {
        at: Score(error=sample_error("response_too_large", why.format(count, MAX_MESSAGES)))
        for at, count in counts.items()
    }


def as_came(sample: Sample) -> Sample:
    """Return the sample with its messages as response, for a scorer that reads messages."""
    if not isinstance(sample, Trajectory):
        return sample
    fields = asdict(sample)
    fields["response"] = fields.pop("messages")
    return Sample(**fields)


class Turns:
    """The turns of some samples as separate `samples`; `fold` combines their scores."""

    def __init__(self, samples: Sequence[Sample], fold: Fold) -> None:
        self.fold = fold
        self.texts = [
            assistant_texts(sample.messages)
            if isinstance(sample, Trajectory)
            else [sample.response]
            for sample in samples
        ]
        self.samples = [
            turn
            for sample, texts in zip(samples, self.texts, strict=True)
            if len(texts) <= MAX_TURNS
            for turn in _turns(sample, texts)
        ]

    def folded(self, scores: Sequence[Score], *, explain: bool) -> list[Score]:
        """Return one score per response, from the scores of its turns.

        A turn that could not be scored leaves its response without a score. An undecided turn
        leaves its response undecided, with the folded score. A response without assistant turns
        gets an error: there is nothing to judge.
        """
        rest = iter(scores)
        found: list[Score] = []
        for texts in self.texts:
            if not 0 < len(texts) <= MAX_TURNS:
                found.append(_not_judged(len(texts)))
            else:
                found.append(self._folded([next(rest) for _ in texts], explain))
        return found

    def _folded(self, turns: Sequence[Score], explain: bool) -> Score:
        values = [turn.value for turn in turns]
        known = [value for value in values if value is not None]
        told = {"turns": [turn.explanation for turn in turns]} if explain else None
        lost = next((turn for turn in turns if turn.value is None), None)
        if lost is not None:
            return Score(None, lost.error, told, lost.timed_out, values, lost.undecided)
        value = {
            "mean": sum(known) / len(known),
            "min": min(known),
            "max": max(known),
            "last": known[-1],
        }[self.fold]
        counted = turns[-1:] if self.fold == "last" else turns
        unsure = next((turn for turn in counted if turn.undecided), turns[-1])
        return Score(value, None, told, False, values, unsure.undecided)


def _turns(sample: Sample, texts: Sequence[str]) -> list[Sample]:
    """Return each turn as a sample, with its message if it came as one."""
    turns = [
        replace(sample, id=f"{sample.id}/turn {place}", response=text)
        for place, text in enumerate(texts)
    ]
    messages = sample.messages if isinstance(sample, Trajectory) else []
    written = [message for message in messages if message.role == "assistant"]
    for turn, message in zip(turns, written, strict=False):
        assert isinstance(turn, Trajectory)
        turn.messages = [message]
    return turns


def _not_judged(count: int) -> Score:
    if count:
        why = f"the response has {count} turns, and at most {MAX_TURNS} are judged"
        return Score(error=sample_error("response_too_large", why))
    why = "the response is a list of messages without an assistant message; send at least one"
    return Score(error=sample_error("unsupported_input", why))
