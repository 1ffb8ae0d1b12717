"""In which order a run goes through its rows.

In: TRL's sampler. Out: row numbers, each epoch's drawn from seed and epoch alone, so that a resumed
run goes on in the order of the one that was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler
from trl.trainer.utils import RepeatSampler


class SeededEachEpoch(Sampler[int]):
    """TRL's sampler, its generator seeded at the start of each epoch."""

    def __init__(self, sampler: RepeatSampler, seed: int, epoch: Callable[[], int]) -> None:
        self.sampler = sampler
        self.seed = seed
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.seed + self.epoch())
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)
