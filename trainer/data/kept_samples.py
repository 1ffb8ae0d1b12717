"""The store of a run: every scored sample of training, as JSON lines, one file per step.

File `samples_step_{n}.jsonl` holds the samples, from all ranks, that go into update `n` (1, 2,
...); it contains whole lines only. A resumed run first calls `rewind`, so that samples drawn after
its checkpoint are not kept twice.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

# Subfolder of a store for the samples of evaluations during training; same file names.
HELD_OUT = "held_out"
FILE_NAME = re.compile(r"samples_step_(\d+)\.jsonl")


@dataclass
class KeptSample:
    """One line of the store. `group` is the dataset row's id, `id` the sample's."""

    id: str
    prompt: Any
    response: str
    reward: float | None
    scores: dict[str, float | None]
    step: int
    epoch: float
    group: str
    fingerprint: str | None
    ground_truth: Any = None
    status: str = "ok"
    error: dict[str, Any] | None = None
    signals: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


class SampleWriter:
    """Appends the samples of a step, gathered from all ranks, on rank 0.

    With `distributed`, `write_batch` is a collective: every rank must call it equally often.

    Example: `SampleWriter("run/samples").write_batch(1, samples)` writes
    `run/samples/samples_step_1.jsonl`.
    """

    def __init__(
        self,
        save_path: str | Path,
        distributed: bool = False,
        rank: int = 0,
        save_every_n_steps: int = 1,
    ) -> None:
        self.folder = Path(save_path)
        self.distributed = distributed
        self.rank = rank
        self.save_every_n_steps = save_every_n_steps

    def write_batch(self, step: int, samples: Sequence[KeptSample]) -> None:
        """Append one batch of samples of step `step`: all of it is on disk on return, or none.

        Steps that are not a multiple of `save_every_n_steps` are not written.

        Raises:
            ValueError: a reward or a score is not a finite number.
            TypeError: a value from the dataset has no JSON form.
            OSError: writing failed, for example on a full disk; the file is restored.
        """
        if step % self.save_every_n_steps:
            return
        gathered = _gather(list(samples), self.rank) if self.distributed else list(samples)
        if self.rank != 0 or not gathered:
            return
        lines = [_line(sample) for sample in gathered]
        self.folder.mkdir(parents=True, exist_ok=True)
        _append(self.folder / f"samples_step_{step}.jsonl", "".join(lines).encode())

    def rewind(self, step: int) -> None:
        """Delete the samples of steps after `step`, and cut off incomplete last lines."""
        if self.rank != 0:
            return
        for number, path in step_files(self.folder):
            if number > step:
                path.unlink()
            else:
                _cut_torn_line(path)
        if (self.folder / HELD_OUT).is_dir():
            SampleWriter(self.folder / HELD_OUT).rewind(step)


def step_files(folder: str | Path) -> list[tuple[int, Path]]:
    """Return the files of a store with their steps, in the order of the steps."""
    matches = ((FILE_NAME.fullmatch(path.name), path) for path in Path(folder).glob("*.jsonl"))
    return sorted((int(match[1]), path) for match, path in matches if match)


def read_samples(path: str | Path) -> Iterator[KeptSample]:
    """Stream a store (a folder, or one of its files) in the order of the steps.

    An incomplete last line, which is still being written or was cut off by a crash, is skipped.

    Example: `[sample.reward for sample in read_samples("run/samples")]`.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: a complete line is not a sample; the message names file and line.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no samples at {path}")
    for file in [p for _, p in step_files(path)] if path.is_dir() else [path]:
        yield from _read_file(file)


def _read_file(path: Path) -> Iterator[KeptSample]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield KeptSample(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a sample: {error}") from error


def _append(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(file).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)  # a full disk may have taken a part of a line
            raise
    finally:
        os.close(file)


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _line(sample: KeptSample) -> str:
    """Return the line of a sample; values of its row have the form in which the client sends
    them."""
    fields = asdict(sample)
    for name in ("prompt", "ground_truth", "signals", "metadata"):
        fields[name] = _as_sent(fields[name])
    return json.dumps(fields, allow_nan=False) + "\n"


def _as_sent(value: object) -> Any:
    """Convert a value as the client does: NaN and infinities to null, dates and the like to
    text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        keys = msgspec.to_builtins(dict.fromkeys(value), str_keys=True)
        return {key: _as_sent(each) for key, each in zip(keys, value.values(), strict=True)}
    if isinstance(value, list | tuple | set):
        return [_as_sent(each) for each in value]
    return msgspec.to_builtins(value)


def _gather(samples: list[KeptSample], rank: int) -> list[KeptSample]:
    from torch import distributed

    parts: list[list[KeptSample]] | None = None
    if rank == 0:
        parts = [[] for _ in range(distributed.get_world_size())]
    distributed.gather_object(samples, parts, dst=0)
    return [sample for part in parts or [] for sample in part]
