"""Scorers that do what no scorer should, told by the response what to do. Run in workers only."""

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
from typing import Any, ClassVar

from reward_server.errors import sample_error
from reward_server.schemas import Sample
from reward_server.scorers.base import RunsIn, Score


class Length:
    """Scores a response by its length: a trivial, well-behaved scorer."""

    version: ClassVar[str] = "1"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    runs_in: ClassVar[RunsIn] = "worker"
    reads: ClassVar[tuple[str, ...]] = ("response",)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(float(len(sample.response))) for sample in samples]


class Hostile(Length):
    """Does what `ground_truth` names, to the number in `response`."""

    reads: ClassVar[tuple[str, ...]] = ("response", "ground_truth")

    def __init__(self, refuse: str = "") -> None:
        if refuse:
            raise ValueError(refuse)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [score for sample in samples for score in self._act(sample, explain)]

    def _act(self, sample: Sample, explain: bool) -> list[Score]:
        acts: dict[object, Callable[[Sample], Any]] = {
            "fields": lambda s: [
                Score(1.0, explanation={"prompt": s.prompt, "signals": s.signals})
            ],
            "pid": lambda _: [Score(float(os.getpid()))],
            "sleep": lambda s: time.sleep(float(s.response)),
            "loop": lambda _: loop_for_ever(),
            "stuck_in_c": lambda _: 9**9**9**9,
            "regex": lambda _: re.match(r"(a+)+$", "a" * 64 + "b"),
            "memory": lambda _: fill_memory(),
            "raise": lambda _: {}["no such key"],
            "exit": lambda _: sys.exit(3),
            "segfault": lambda _: ctypes.string_at(0),
            "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
            "too_many": lambda _: [Score(1.0), Score(1.0)],
            "too_few": lambda _: [],
            "nan": lambda _: [Score(math.nan)],
            "inf": lambda _: [Score(math.inf)],
            "neither": lambda _: [Score()],
            "no_list": lambda _: 1.0,
            "unsendable": lambda _: [Score(1.0, explanation={"what": object()})],
            "large": lambda _: [Score(1.0, explanation={"what": "x" * (17 * 1024**2)})],
            "big_int": lambda _: [Score(1.0, explanation={"what": 10**40})],
            "own_error": lambda _: [Score(error=sample_error("bad_ground_truth", "unreadable"))],
            "child": lambda s: leave_a_child(s.response),
        }
        act = acts.get(sample.ground_truth)
        done = act(sample) if act else None
        if isinstance(done, list) or sample.ground_truth == "no_list":
            return done  # pyright: ignore[reportReturnType]
        return [Score(float(sample.response), explanation={"by": "hostile"} if explain else None)]


def loop_for_ever() -> None:
    while True:
        pass


def fill_memory() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(8 * 1024**2))


def leave_a_child(pid_file: str) -> None:
    child = subprocess.Popen(["sleep", "600"])
    with open(pid_file, "w") as file:
        file.write(str(child.pid))
    loop_for_ever()
