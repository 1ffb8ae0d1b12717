"""Scorers that do what no scorer should, told by the ground truth what. For workers only."""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from msgspec.structs import asdict

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import RunsIn, Score


class Length:
    """Scores a response by its length: a trivial, well-behaved scorer."""

    version: ClassVar[str] = "1"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    runs_in: ClassVar[RunsIn] = "worker"
    reads: ClassVar[tuple[str, ...]] = ("response",)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(float(len(sample.response))) for sample in samples]


class Deadly(Length):
    """Ends the process of the engine itself where a response says so."""

    runs_in: ClassVar[RunsIn] = "inline"

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        if any(sample.response == "die!" for sample in samples):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(samples)


class Hostile(Length):
    """Does what `ground_truth` names; otherwise the score is the number in `response`."""

    reads: ClassVar[tuple[str, ...]] = ("response", "ground_truth", "metadata")

    def __init__(self, refuse: str = "") -> None:
        if refuse:
            raise ValueError(refuse)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> Any:
        (sample,) = samples
        act = ACTS.get(sample.ground_truth) if isinstance(sample.ground_truth, str) else None
        if act is not None and (done := act(sample)) is not None:
            return done
        return [Score(float(sample.response), explanation={"by": "hostile"} if explain else None)]


class Astray(Length):
    """Reads a field that samples do not have."""

    reads: ClassVar[tuple[str, ...]] = ("response", "answer")


def loop_for_ever(_: Sample) -> None:
    while True:
        pass


def fill_memory(_: Sample) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(8 * 1024**2))


def leave_a_child_and_hang(sample: Sample) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path(sample.metadata["file"]).write_text(str(child.pid))
    time.sleep(600)


def note(sample: Sample) -> None:
    with open(sample.metadata["file"], "a") as file:
        file.write(f"{sample.id}\n")


def note_and_die(sample: Sample) -> None:
    note(sample)
    os.kill(os.getpid(), signal.SIGKILL)


def note_and_sleep(sample: Sample) -> None:
    note(sample)
    time.sleep(0.1)


def nested(depth: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(depth):
        nest = [nest]
    return nest


LEAKED: list[bytearray] = []

ACTS: dict[str, Callable[[Sample], Any]] = {
    "sleep": lambda sample: time.sleep(float(sample.response)),
    "loop": loop_for_ever,
    "stuck_in_c": lambda _: 9**9**9**9,
    "regex": lambda _: re.match(r"(a+)+$", "a" * 64 + "b"),
    "memory": fill_memory,
    "leak": lambda _: LEAKED.append(bytearray(b"x") * (40 * 1024**2)),
    "segfault": lambda _: ctypes.string_at(0),
    "die": note_and_die,
    "child": leave_a_child_and_hang,
    "note": note_and_sleep,
    "raise": lambda _: {}["no such key"],
    "exit": lambda _: sys.exit(3),
    "too_many": lambda _: [Score(1.0), Score(1.0)],
    "too_few": lambda _: [],
    "no_list": lambda _: 1.0,
    "nan": lambda _: [Score(math.nan)],
    "inf": lambda _: [Score(math.inf)],
    "int": lambda _: [Score(7)],
    "text": lambda _: [Score("7")],  # pyright: ignore[reportArgumentType]
    "neither": lambda _: [Score()],
    "unsendable": lambda _: [Score(1.0, explanation={"what": object()})],
    "deep": lambda _: [Score(1.0, explanation={"what": nested(100_000)})],
    "large": lambda _: [Score(1.0, explanation={"what": "x" * (17 * 1024**2)})],
    "big_int": lambda _: [Score(1.0, explanation={"what": 10**40})],
    "own_error": lambda _: [Score(error=sample_error("bad_ground_truth", "unreadable"))],
    "fields": lambda sample: [Score(1.0, explanation=asdict(sample))],
    "pid": lambda _: [Score(float(os.getpid()))],
    "clock": lambda _: [Score(time.monotonic())],
}
