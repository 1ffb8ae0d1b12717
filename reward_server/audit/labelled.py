"""Compute error rates from labelled samples.

Labels are yes, no or unclear. False positives and negatives are reported with intervals, by scorer,
class of ground truth and length of response.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.audit.near_misses import number_in
from touchstone_rewards.reward_server.audit.report import ErrorRate
from touchstone_rewards.reward_server.audit.shares import share
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
)
from touchstone_rewards.reward_server.turn_texts import response_text

LABELS = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}
UNCLEAR = {"unclear", "", "null", "none"}
# Scores from here on count as yes.
LEAST_YES = 0.5
LENGTHS = (
    (0, 200, "under 200 characters"),
    (200, 1000, "200 to 1,000 characters"),
    (1000, 4000, "1,000 to 4,000 characters"),
    (4000, 2**62, "4,000 characters and more"),
)


class Labelled(NamedTuple):
    """A sample, and whether its response is right."""

    sample: Sample
    right: bool


class LabelLine(Struct):
    """One line of labels: a sample's fields and its label. Other keys are ignored."""

    response: Any
    label: Any = None
    id: str = ""
    prompt: Any = None
    ground_truth: Any = None
    signals: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


def read_labelled(path: Path) -> list[Labelled]:
    """Return the labelled samples of a JSONL file, without those labelled unclear.

    Raises:
        ConfigError: a line has no label, or an invalid one.
    """
    if not path.is_file():
        raise ConfigError(f"labelled {path} is not a file; pass JSONL with response and label")
    decode = msgspec.json.Decoder(LabelLine).decode
    found: list[Labelled] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                read = decode(line)
                right = _label(read.label)
                sample = _sample(read, number) if right is not None else None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
                raise ConfigError(
                    f'{path}, line {number}: {error}; expected {{"response": "…", '
                    '"ground_truth": "…", "label": "yes" or "no" or "unclear"}'
                ) from error
            if sample is not None and right is not None:
                found.append(Labelled(sample, right))
    if not found:
        raise ConfigError(f"labelled {path} has no sample with a label")
    return found


def _label(value: Any) -> bool | None:
    word = str(value).casefold().strip()
    if word in UNCLEAR:
        return None
    if word not in LABELS:
        raise ValueError(f"label is {value!r}")
    return LABELS[word]


def _sample(line: LabelLine, number: int) -> Sample:
    names = ("response", "prompt", "ground_truth", "signals", "metadata")
    fields = {name: getattr(line, name) for name in names}
    return msgspec.convert({"id": line.id or str(number), **fields}, Sample)


def error_rates(labelled: Sequence[Labelled], results: Sequence[SampleResult]) -> list[ErrorRate]:
    """Return the error rates of the reward and of each scorer over all samples.

    Those of the reward are also split by class of ground truth and by length.
    """
    pairs = list(zip(labelled, results, strict=True))
    rates = [_rate("reward", "all", [(each, result.reward) for each, result in pairs])]
    rates += [
        _rate(key, "all", [(each, result.scores.get(key)) for each, result in pairs])
        for key in results[0].scores
    ]
    for among in dict.fromkeys(name for each, _ in pairs for name in _classes(each.sample)):
        of = [(each, result.reward) for each, result in pairs if among in _classes(each.sample)]
        rates.append(_rate("reward", among, of))
    return rates


def _rate(scorer: str, among: str, scored: Sequence[tuple[Labelled, float | None]]) -> ErrorRate:
    wrong = [score >= LEAST_YES for each, score in scored if not each.right and score is not None]
    right = [score < LEAST_YES for each, score in scored if each.right and score is not None]
    return ErrorRate(
        scorer,
        among,
        share(sum(wrong), len(wrong)),
        share(sum(right), len(right)),
        sum(score is None for _, score in scored),
    )


def _classes(sample: Sample) -> Iterator[str]:
    """Return the class of a sample's ground truth and the length class of its response."""
    truth = sample.ground_truth
    if isinstance(truth, list):
        yield "several answers"
    elif truth is None:
        yield "no ground truth"
    elif number_in(str(truth)) is not None:
        yield "a number"
    elif "\\" in str(truth):
        yield "LaTeX"
    else:
        yield "a text"
    chars = len(response_text(sample.response))
    yield next(name for low, high, name in LENGTHS if low <= chars < high)
