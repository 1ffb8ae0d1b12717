"""Ground truths for trainers that send none, looked up in the operator's file by id or prompt.

A line of the file is `{"id": …, "prompt": …, "ground_truth": …}`, with an id, a prompt or both, and
optionally `metadata`. A sample that is not in the file keeps its null ground truth and gets no
reward.

Ids are looked up only if the trainer sends ids. The other formats number the samples of a request,
and these numbers are unrelated to the rows of a file.
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
    """A line of the file."""

    ground_truth: TruthOnTheWire
    id: str | int | None = None
    prompt: str | None = None
    metadata: dict[str, Any] = {}


class Known(NamedTuple):
    """The fields that a line supplies."""

    ground_truth: TruthOnTheWire
    metadata: dict[str, Any]


logger = logging.getLogger(__name__)


class GroundTruths:
    """The ground truths in the file at `path`; without a path, none.

    Raises:
        ConfigError: the file cannot be read, a line is invalid, or two lines contradict each other.
    """

    def __init__(self, path: Path | None) -> None:
        self._by_id: dict[str, Known] = {}
        self._by_prompt: dict[str, Known] = {}
        for number, row in _rows(path) if path else ():
            where = f"compat_ground_truths: {path}, line {number}"
            if row.id is None and row.prompt is None:
                raise ConfigError(f"{where}: the line has neither id nor prompt; add one of them")
            if row.id is not None:
                _add(self._by_id, str(row.id), row, f"{where}: the id {row.id!r}")
            if row.prompt is not None:
                prompt = row.prompt.strip()
                _add(self._by_prompt, prompt, row, f"{where}: the prompt {prompt[:60]!r}")
        if path and _like_positions(self._by_id):
            logger.warning(
                "compat_ground_truths: the ids in %s look like positions (0, 1, 2, …). Ids are "
                "looked up for trainers that send ids (/compat/rewards), whose sample_ids must be "
                "these; for all others, prompts are looked up",
                path,
            )

    def fill(self, sample: Sample, *, by_id: bool) -> None:
        """Set the ground truth and the metadata of a sample that came without a ground truth.

        `by_id`: look the sample's id up too, because the trainer chose it. If id and prompt lead to
        different lines, the sample stays as it is.
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
        raise ConfigError(f"{named} has another {other} in an earlier line; keep one of the two")


def _like_positions(ids: Iterable[str]) -> bool:
    """Return whether the ids are 0, 1, 2, … or 1, 2, 3, … without a gap."""
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
