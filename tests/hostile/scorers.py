"""Scorers for the attacks: one reads metadata, others are slow."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import RunsIn, Score


class Seen:
    """Score a sample by the number of members in its metadata."""

    version: ClassVar[str] = "1"
    range: ClassVar[tuple[float, float]] = (0.0, 1e9)
    runs_in: ClassVar[RunsIn] = "inline"
    reads: ClassVar[tuple[str, ...]] = ("response", "metadata")

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(float(len(sample.metadata))) for sample in samples]


class SeenByWorker(Seen):
    """Do the same in a worker."""

    runs_in: ClassVar[RunsIn] = "worker"


class Sleeper(Seen):
    """Take as many seconds as the response says, in a worker. If it names a file instead, create
    one with that name and the process's number, and wait until the named file exists.
    """

    runs_in: ClassVar[RunsIn] = "worker"
    reads: ClassVar[tuple[str, ...]] = ("response",)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        for sample in samples:
            if not sample.response.startswith("/"):
                time.sleep(float(sample.response))
                continue
            Path(f"{sample.response}.{os.getpid()}").touch()
            while not Path(sample.response).exists():
                time.sleep(0.01)
        return [Score(1.0) for _ in samples]


class Glutton(Sleeper):
    """Take as many MiB of memory as the response says."""

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        taken = [bytes(int(sample.response) * 2**20) for sample in samples]
        return [Score(1.0) for _ in taken]


class OtherSleeper(Sleeper):
    """A second scorer of the same kind."""


class InlineSleeper(Sleeper):
    """Do the same in the event loop, where it should not run; the score tells the process."""

    range: ClassVar[tuple[float, float]] = (0.0, 1e9)
    runs_in: ClassVar[RunsIn] = "inline"
    reads: ClassVar[tuple[str, ...]] = ("response", "metadata")

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        super().score(samples)
        return [Score(float(os.getpid())) for _ in samples]
