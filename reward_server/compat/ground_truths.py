"""Ground truths for the trainers that send none: the operator's file, by id or by prompt.

In: JSON lines `{"id": …, "prompt": …, "ground_truth": …}`, with an id, a prompt, or both. Out: the
ground truth of a sample, null where the file has none, so that the sample is not scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.compat.format import GroundTruth
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample


class Row(Struct):
    ground_truth: GroundTruth
    id: str | int | None = None
    prompt: str | None = None


class GroundTruths:
    """What the file at `path` holds; without a path, nothing.

    Raises:
        ConfigError: the file cannot be read, or a line does not fit.
    """

    def __init__(self, path: Path | None) -> None:
        self._of: dict[tuple[str, str], GroundTruth] = {}
        for row in _rows(path) if path else ():
            if row.id is not None:
                self._of["id", str(row.id)] = row.ground_truth
            if row.prompt is not None:
                self._of["prompt", row.prompt.strip()] = row.ground_truth

    def fill(self, sample: Sample) -> None:
        """Give the sample the ground truth that its trainer did not send."""
        if sample.ground_truth is not None or not self._of:
            return
        sample.ground_truth = self._of.get(("id", sample.id))
        if sample.ground_truth is None and isinstance(sample.prompt, str):
            sample.ground_truth = self._of.get(("prompt", sample.prompt.strip()))


def _rows(path: Path) -> Iterator[Row]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"compat_ground_truths: cannot read {path}: {error}") from error
    return (_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip())


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        return msgspec.json.decode(line, type=Row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"compat_ground_truths: {path}, line {number}: {error}") from error
