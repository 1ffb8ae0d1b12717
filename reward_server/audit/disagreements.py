"""Find the samples most worth labelling: those on which two verdicts differ.

From a score log, compute how often the verdicts agree, and write lines to label: the sample, both
verdicts and an empty label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from touchstone_rewards.reward_server.audit.report import Agreement
from touchstone_rewards.reward_server.audit.shares import share
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample, SampleResult
from touchstone_rewards.reward_server.watching.score_log import ScoreLine, log_files
from touchstone_rewards.reward_server.watching.verdicts import differ, verdict


class Logged(NamedTuple):
    """A sample and its logged result."""

    sample: Sample
    result: SampleResult
    profile: str


def read_log(path: Path, most: int) -> list[Logged]:
    """Return at most this many samples of a score log, those of its newest file first.

    Raises:
        ConfigError: the file is missing, or a line does not belong to a score log.
    """
    if not path.is_file():
        raise ConfigError(f"log {path} is not a file; pass a score log of serve --score_log")
    found = list(islice(_lines(log_files(path)), most))
    if not found:
        raise ConfigError(f"log {path} has no samples")
    return found


def _lines(files: Sequence[Path]) -> Iterator[Logged]:
    decode = msgspec.json.Decoder(ScoreLine).decode
    for path in reversed(files):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    continue
                try:
                    read = decode(line)
                except msgspec.DecodeError as error:
                    raise ConfigError(
                        f"{path}, line {number}: {error}; expected a line of a score log"
                    ) from error
                yield Logged(read.sample, read.result, read.profile)


class ToLabel(NamedTuple):
    """A sample on which two verdicts differ, and the size of the difference."""

    sample: Sample
    one: SampleResult
    other: SampleResult
    gap: float


def disagreements(
    logged: Sequence[Logged], ours: Sequence[SampleResult], theirs: Sequence[SampleResult]
) -> list[ToLabel]:
    """Return the samples on which the verdicts differ, the largest difference first.

    Repeated pairs of response and ground truth are listed once.
    """
    found: dict[tuple[str, str], ToLabel] = {}
    for each, one, other in zip(logged, ours, theirs, strict=True):
        if _same(one, other):
            continue
        both = one.reward is not None and other.reward is not None
        gap = abs((one.reward or 0.0) - (other.reward or 0.0)) if both else 0.0
        key = str(each.sample.response), str(each.sample.ground_truth)
        found.setdefault(key, ToLabel(each.sample, one, other, gap))
    return sorted(found.values(), key=lambda each: -each.gap)


def agreement(
    name: str, ours: Sequence[SampleResult], theirs: Sequence[SampleResult], to_label: int
) -> Agreement:
    """Return how often the verdicts agree."""
    same = sum(_same(one, other) for one, other in zip(ours, theirs, strict=True))
    return Agreement(name, share(same, len(ours)), to_label)


def _same(one: SampleResult, other: SampleResult) -> bool:
    codes = [each.error.code if each.error else None for each in (one, other)]
    words = [verdict(each.reward, code) for each, code in zip((one, other), codes, strict=True)]
    return words[0] == words[1] and not differ(one.reward, other.reward)


def label_line(each: ToLabel) -> bytes:
    """Return a line for `--labelled` with an empty label."""
    sample: dict[str, Any] = msgspec.to_builtins(each.sample)
    verdicts = [result.reward for result in (each.one, each.other)]
    return msgspec.json.encode({**sample, "verdicts": verdicts, "label": None}) + b"\n"
