"""A scorer for workers that leaves a line in a file for every evaluation."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score


class Counting:
    """Score the response's length. The prompt may ask to `wait` until a file beside this one, with
    its name and `.open`, exists, or to `die once`.
    """

    version: ClassVar[str] = "1"
    range: ClassVar[tuple[float, float]] = (0.0, 1e9)
    runs_in: ClassVar[Literal["worker"]] = "worker"
    reads: ClassVar[tuple[str, ...]] = ("prompt", "response", "ground_truth")
    deterministic: ClassVar[bool] = True

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        [sample] = samples
        before = self.file.exists()
        with self.file.open("a") as file:
            file.write(f"{sample.id}\n")
        while sample.prompt == "wait" and not Path(f"{self.file}.open").exists():
            time.sleep(0.01)
        if sample.prompt == "die once" and not before:
            os._exit(1)
        if sample.ground_truth is None:
            return [Score(error=sample_error("bad_ground_truth", "there is none"))]
        length = len(sample.response)
        return [Score(float(length), None, {"length": length} if explain else None)]


class Undecided(Counting):
    """The same without the promise to be deterministic."""

    deterministic: ClassVar[bool] = False
