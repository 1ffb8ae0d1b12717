"""Samplers: the order in which a run draws its rows, and how often it draws each.

Each epoch's order depends only on the seed, the epoch and the samples of earlier epochs, so that a
resumed run continues in the order of the interrupted one. An epoch is as long as TRL's even if rows
are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler
from trl.trainer.utils import RepeatSampler

from touchstone_rewards.trainer.data.kept_samples import KeptSample
from touchstone_rewards.trainer.grpo.learning import LearningArguments

UNKNOWN_WEIGHT = 0.25


class Record(NamedTuple):
    """A row's results so far: the mean reward of its last rollout, and the number of its most
    recent rollouts in a row with equal rewards."""

    mean: float
    equal_in_a_row: int


def mixed_seed(*parts: int) -> int:
    """Return a seed that depends on all parts.

    With a sum, seed 0 in epoch 1 would give the order of seed 1 in epoch 0, and the runs of a study
    would share their orders.
    """
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


class SeededEachEpoch(Sampler[int]):
    """TRL's sampler, with its generator seeded at the start of each epoch."""

    def __init__(self, sampler: RepeatSampler, seed: int, epoch: Callable[[], int]) -> None:
        self.sampler = sampler
        self.seed = seed
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(mixed_seed(self.seed, self.epoch()))
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


class ChosenEachEpoch(SeededEachEpoch):
    """Draws rows by `LearningArguments`; `records(epoch)` returns the records before that epoch."""

    def __init__(
        self,
        sampler: RepeatSampler,
        seed: int,
        epoch: Callable[[], int],
        learning: LearningArguments,
        records: Callable[[int], Sequence[Record | None]],
    ) -> None:
        super().__init__(sampler, seed, epoch)
        self.learning = learning
        self.records = records

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch()))
        batch = self.sampler.batch_size
        records = self.records(self.epoch())
        chosen = rows_of_epoch(records, batch, self.learning, generator)
        for rows in chosen:
            for _ in range(self.sampler.repeat_count):
                for row in rows:
                    yield from [row] * self.sampler.mini_repeat_count


def rows_of_epoch(
    records: Sequence[Record | None],
    batch: int,
    learning: LearningArguments,
    generator: torch.Generator,
) -> list[list[int]]:
    """Return the rows of each rollout of an epoch, `batch` different ones per rollout.

    `records` has one entry per row, None for a row without a rollout so far.
    """
    kept = kept_rows(records, batch, learning.skip_equal_retry, generator)
    weights = torch.tensor([weight_of(each, learning.curriculum_floor) for each in records])
    rollouts: list[list[int]] = []
    while len(rollouts) < len(records) // batch:
        if learning.curriculum:
            places = torch.multinomial(weights[kept], batch, generator=generator)
            rollouts.append(kept[places].tolist())
        else:
            order = kept[torch.randperm(len(kept), generator=generator)]
            rollouts += [part.tolist() for part in order.split(batch) if len(part) == batch]
    return rollouts[: len(records) // batch]


def kept_rows(
    records: Sequence[Record | None], at_least: int, retry: float | None, generator: torch.Generator
) -> Tensor:
    """Return the rows that are not skipped: row i stays with probability retry^z_i.

    If fewer than `at_least` stay, the rows with the smallest z_i are added.
    """
    streaks = torch.tensor([each.equal_in_a_row if each else 0 for each in records])
    if retry is None:
        return torch.arange(len(records))
    stays = torch.rand(len(records), generator=generator) < retry**streaks
    if stays.sum() < at_least:
        stays[streaks.argsort(stable=True)[:at_least]] = True
    return stays.nonzero().flatten()


def weight_of(record: Record | None, floor: float) -> float:
    """Return p (1 - p), but at least `floor`; a quarter for an unknown row."""
    if record is None:
        return UNKNOWN_WEIGHT
    p = min(1.0, max(0.0, record.mean))
    return max(p * (1 - p), floor)


def records_of(samples: Iterable[KeptSample]) -> dict[str, Record]:
    """Return the record of each row, from its samples in the order of the steps."""
    rollouts: dict[str, dict[int, list[float]]] = {}
    for sample in samples:
        if sample.reward is not None:
            rollouts.setdefault(sample.group, {}).setdefault(sample.step, []).append(sample.reward)
    return {group: record_of(list(steps.values())) for group, steps in rollouts.items()}


def record_of(rollouts: Sequence[Sequence[float]]) -> Record:
    """Return the record of a row from the rewards of its rollouts, in the order of the steps."""
    equal = 0
    for rewards in reversed(rollouts):
        if max(rewards) != min(rewards):
            break
        equal += 1
    return Record(sum(rollouts[-1]) / len(rollouts[-1]), equal)
