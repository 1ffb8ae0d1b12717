"""Ground truths for the trainers that send none: the operator's file, by id or by prompt.

In: JSON lines `{"id": …, "prompt": …, "ground_truth": …}`, with an id, a prompt, or both, and
`metadata` where a profile reads it. Out: the ground truth of a sample, null where the file has
none, so that the sample is not scored.

An id counts only where the trainer sends ids of its own. The other formats number the samples of a
request, and those numbers say nothing about the rows of a file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample, TruthOnTheWire


class TruthRow(Struct):
    ground_truth: TruthOnTheWire
    id: str | int | None = None
    prompt: str | None = None
    metadata: dict[str, Any] = {}


class Known(NamedTuple):
    """What the file knows of a sample."""

    ground_truth: TruthOnTheWire
    metadata: dict[str, Any]


logger = logging.getLogger(__name__)


class GroundTruths:
    """What the file at `path` holds; without a path, nothing.

    Raises:
        ConfigError: the file cannot be read, a line does not fit, or two lines give one id or one
            prompt different ground truths.
    """

    def __init__(self, path: Path | None) -> None:
        self._by_id: dict[str, Known] = {}
        self._by_prompt: dict[str, Known] = {}
        for number, row in _rows(path) if path else ():
            where = f"compat_ground_truths: {path}, line {number}"
            if row.id is None and row.prompt is None:
                raise ConfigError(f"{where}: no id and no prompt, so no sample can have it")
            if row.id is not None:
                _add(self._by_id, str(row.id), row, f"{where}: the id {row.id!r}")
            if row.prompt is not None:
                prompt = row.prompt.strip()
                _add(self._by_prompt, prompt, row, f"{where}: the prompt {prompt[:60]!r}")
        if path and _like_positions(self._by_id):
            logger.warning(
                "compat_ground_truths: the ids in %s look like positions (0, 1, 2, …); only a "
                "trainer that sends ids of its own, as /compat/rewards does, is answered by id, "
                "and its sample_ids must be these; all others are answered by prompt",
                path,
            )

    def fill(self, sample: Sample, *, by_id: bool) -> None:
        """Give the sample the ground truth and the metadata that its trainer did not send.

        `by_id`: the sample's id is the trainer's own, not its place in the request. Where its id
        and its prompt have different ground truths it gets neither.
        """
        if sample.ground_truth is not None or not (self._by_id or self._by_prompt):
            return
        prompt = sample.prompt.strip() if isinstance(sample.prompt, str) else None
        of_prompt = self._by_prompt.get(prompt) if prompt is not None else None
        of_id = self._by_id.get(sample.id) if by_id else None
        if of_id is None or of_prompt is None or of_id == of_prompt:
            known = of_id if of_id is not None else of_prompt
            if known is not None:
                sample.ground_truth = known.ground_truth
                sample.metadata = sample.metadata or dict(known.metadata)


def _add(known: dict[str, Known], key: str, row: TruthRow, named: str) -> None:
    mine = Known(row.ground_truth, row.metadata)
    if (before := known.setdefault(key, mine)) != mine:
        other = "metadata" if before.ground_truth == mine.ground_truth else "ground truth"
        raise ConfigError(f"{named} stood before with another {other}; keep one")


def _like_positions(ids: Iterable[str]) -> bool:
    """Are these the numbers 0, 1, 2, … or 1, 2, 3, … without a gap?"""
    found = set(ids)
    return any(
        bool(found) and found == {str(number) for number in range(first, first + len(found))}
        for first in (0, 1)
    )


def _rows(path: Path) -> Iterator[tuple[int, TruthRow]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"compat_ground_truths: cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _row(path, number, line)


def _row(path: Path, number: int, line: bytes) -> TruthRow:
    try:
        return msgspec.json.decode(line, type=TruthRow)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"compat_ground_truths: {path}, line {number}: {error}") from error
