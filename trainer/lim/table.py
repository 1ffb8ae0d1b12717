"""Read kept samples into tables with one row per prompt and one column per epoch.

Input is `samples_step_*.jsonl` (ours, or any JSON lines with `id` and `reward`) or LIMR's own
`step_*.json`. Files are streamed: memory grows with the number of prompts, not of samples. A sample
without a reward is counted but otherwise ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Float
from msgspec import Raw, Struct

STEP = re.compile(r"(?:samples_)?step_(\d+)\.jsonl?")
READ_BYTES = 1 << 20
ABSENT = Raw(b"null")


class SampleRow(Struct):
    """The keys of a sample that are read; others are ignored."""

    reward: float | None = None
    group: str | int | None = None
    id: str | int | None = None
    step: int | None = None
    epoch: float | None = None
    fingerprint: str | None = None
    prompt: Raw = ABSENT
    response: Raw = ABSENT
    ground_truth: Raw = ABSENT


class LimrRow(Struct):
    """A sample of LIMR's `step_*.json`, which identifies prompts by their text."""

    prompt: str
    reward: float | None = None


@dataclass
class Facts:
    """The data of a prompt that a selection passes on, as JSON: the prompt itself, its ground
    truth, and the last response with the full reward."""

    prompt: bytes = b"null"
    ground_truth: bytes = b"null"
    response: bytes | None = None


@dataclass
class RewardTable:
    """Means per prompt and epoch, NaN where the prompt has no rewarded sample in that epoch.

    `accuracy` is the share of samples with the full reward, `reward` the mean reward.
    """

    prompts: list[str]
    accuracy: Float[np.ndarray, "prompts epochs"]
    reward: Float[np.ndarray, "prompts epochs"]
    facts: dict[str, Facts]
    fingerprints: list[str]
    samples: int
    unrewarded: int


class NoEpochs(ValueError):
    """The samples do not say in which epoch they were drawn."""


def step_of_file(path: Path) -> int | None:
    """Return the step in a file's name: 7 for `samples_step_7.jsonl` and `step_7.json`."""
    match = STEP.fullmatch(path.name)
    return int(match[1]) if match else None


def sample_files(path: Path) -> list[Path]:
    """Return the files of a store in the order of their steps.

    Raises:
        FileNotFoundError: there are no samples.
    """
    if path.is_file():
        return [path]
    lists = [file for file in path.glob("*.json") if step_of_file(file) is not None]
    files = [*path.glob("*.jsonl"), *lists]
    if not files:
        raise FileNotFoundError(f"no samples (*.jsonl or step_*.json) in {path}")
    return sorted(files, key=lambda file: (step_of_file(file) or 0, file.name))


def rows_of(path: Path) -> Iterator[SampleRow]:
    """Stream one file. A last line without a newline is still being written, and is skipped.

    Raises:
        ValueError: a line is not a sample; the message names file and line.
    """
    step = step_of_file(path)
    if path.suffix == ".json":
        try:
            samples = msgspec.json.decode(path.read_bytes(), type=list[LimrRow])
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}: not a list of samples: {error}") from error
        for sample in samples:
            text = sample.prompt.strip()
            yield SampleRow(
                sample.reward, group=text, step=step, prompt=Raw(msgspec.json.encode(text))
            )
        return
    decode = msgspec.json.Decoder(SampleRow).decode
    with path.open("rb", buffering=READ_BYTES) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}, line {number}: not a sample: {error}") from error
            if row.step is None:
                row.step = step
            yield row


def read_table(
    path: Path,
    *,
    steps_per_epoch: int | None = None,
    max_epochs: int | None = None,
    full_reward: float = 1.0,
) -> RewardTable:
    """Read the table of a store.

    `steps_per_epoch` is the length of an epoch in steps; by default the epoch recorded with each
    sample is used. Epochs from `max_epochs` on are ignored.

    Raises:
        FileNotFoundError, ValueError: see `sample_files`, `rows_of`.
        NoEpochs: neither the samples nor `steps_per_epoch` give the epochs.
    """
    tally = _Tally(full_reward)
    files = sample_files(path)
    first_step = 0 if any(step_of_file(file) == 0 for file in files) else 1
    for file in files:
        for row in rows_of(file):
            epoch = _epoch(row, steps_per_epoch, first_step, file)
            if max_epochs is None or epoch < max_epochs:
                tally.add(_key(row, file), epoch, row)
    return tally.table()


class _Tally:
    """Running counts and sums per prompt and epoch, and each prompt's facts."""

    def __init__(self, full_reward: float) -> None:
        self.full_reward = full_reward
        self.cells: dict[tuple[str, int], list[float]] = {}
        self.facts: dict[str, Facts] = {}
        self.fingerprints: set[str] = set()
        self.samples = 0
        self.unrewarded = 0

    def add(self, prompt: str, epoch: int, row: SampleRow) -> None:
        self.samples += 1
        known = self.facts.get(prompt)
        if known is None:
            known = self.facts[prompt] = Facts(bytes(row.prompt), bytes(row.ground_truth))
        if row.reward is None:
            self.unrewarded += 1
            return
        full = row.reward >= self.full_reward
        if full:
            known.response = bytes(row.response)
        if row.fingerprint is not None:
            self.fingerprints.add(row.fingerprint)
        cell = self.cells.setdefault((prompt, epoch), [0, 0, 0.0])
        cell[0] += 1
        cell[1] += full
        cell[2] += row.reward

    def table(self) -> RewardTable:
        prompts = list(self.facts)
        epochs = 1 + max((epoch for _, epoch in self.cells), default=-1)
        place = {prompt: number for number, prompt in enumerate(prompts)}
        accuracy = np.full((len(prompts), epochs), np.nan)
        reward = np.full((len(prompts), epochs), np.nan)
        for (prompt, epoch), (count, full, total) in self.cells.items():
            accuracy[place[prompt], epoch] = full / count
            reward[place[prompt], epoch] = total / count
        fingerprints = sorted(self.fingerprints)
        return RewardTable(
            prompts, accuracy, reward, self.facts, fingerprints, self.samples, self.unrewarded
        )


def _key(row: SampleRow, file: Path) -> str:
    key = row.group if row.group is not None else row.id
    if key is None:
        raise ValueError(f"{file}: a sample has neither group nor id")
    return str(key)


def _epoch(row: SampleRow, steps_per_epoch: int | None, first_step: int, file: Path) -> int:
    if steps_per_epoch is not None:
        if row.step is None:
            raise NoEpochs(
                f"{file}: a sample has no step, neither in its line nor in the file's name"
            )
        if row.step < first_step:
            raise ValueError(f"{file}: a sample of step {row.step}, but steps count from 1")
        return (row.step - first_step) // steps_per_epoch
    if row.epoch is None:
        raise NoEpochs(f"{file}: the samples have no epoch: give --steps_per_epoch")
    return int(row.epoch)
