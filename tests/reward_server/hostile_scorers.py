"""Scorers that misbehave in the way that the ground truth names. For workers only."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
from msgspec.structs import asdict

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import RunsIn, Score


class Length:
    """Score a response by its length: a trivial, well-behaved scorer."""

    version: ClassVar[str] = "1"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    runs_in: ClassVar[RunsIn] = "worker"
    reads: ClassVar[tuple[str, ...]] = ("response",)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(float(len(sample.response))) for sample in samples]


class Deadly(Length):
    """End the engine's own process if a response says so: the parent of the workers' parent."""

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        if any(sample.response == "die!" for sample in samples):
            os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
        return super().score(samples)


class Hostile(Length):
    """Do what `ground_truth` names; otherwise score the number in `response`.

    Makes the file that the metadata names as `begun`, if any, before it does anything.
    """

    reads: ClassVar[tuple[str, ...]] = ("response", "ground_truth", "metadata")

    def __init__(self, refuse: str = "") -> None:
        if refuse:
            raise ValueError(refuse)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> Any:
        (sample,) = samples
        if begun := sample.metadata.get("begun"):
            Path(begun).touch()
        act = ACTS.get(sample.ground_truth) if isinstance(sample.ground_truth, str) else None
        if act is not None and (done := act(sample)) is not None:
            return done
        return [Score(float(sample.response), explanation={"by": "hostile"} if explain else None)]


class WithHelper(Length):
    """Start a process when it is built, and score 1 while that process lives."""

    reads: ClassVar[tuple[str, ...]] = ("response", "ground_truth")

    def __init__(self) -> None:
        self.helper = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        if samples[0].ground_truth == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return [Score(float(Path(f"/proc/{self.helper.pid}").exists())) for _ in samples]


class Astray(Length):
    """Reads a field that samples do not have."""

    reads: ClassVar[tuple[str, ...]] = ("response", "answer")


class NoVersion(Length):
    """Has no version."""

    version = None  # pyright: ignore[reportAssignmentType]


class InAProcess(Length):
    """Names a `runs_in` that does not exist."""

    runs_in = "process"  # pyright: ignore[reportAssignmentType]


class NoRange(Length):
    """Has no range."""

    range = None  # pyright: ignore[reportAssignmentType]


class ReadsText(Length):
    """Lacks the comma in `("response",)`."""

    reads = "response"  # pyright: ignore[reportAssignmentType]


class Clumsy(Length):
    """Runs in the event loop and returns, or raises, what `ground_truth` names."""

    runs_in: ClassVar[RunsIn] = "inline"
    reads: ClassVar[tuple[str, ...]] = ("response", "ground_truth")

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> Any:
        acts = [ACTS.get(str(sample.ground_truth)) for sample in samples]
        done = [
            act(sample) if act else [Score(float(len(sample.response)))]
            for act, sample in zip(acts, samples, strict=True)
        ]
        return [score for scores in done for score in scores]


def raise_here(_: Sample) -> None:
    raise ValueError("raised here")


def babble(_: Sample) -> None:
    """Send bytes that are no answer, as a worker whose memory a library has corrupted might."""
    board = next(each for each in gc.get_objects() if isinstance(each, memoryview))
    board[0] = 0.0
    for each in gc.get_objects():
        if isinstance(each, socket.socket):
            each.sendall(b"\x02\x00\x00\x00\xc1\xc1")
    time.sleep(600)


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


def leave_a_daemon(sample: Sample) -> None:
    """Start a process in its own session, which starts another and does not wait for it."""
    script = f"setsid sh -c 'echo $$ >> {sample.metadata['file']}; sleep 600' & sleep 600"
    child = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    while not Path(sample.metadata["file"]).exists():
        time.sleep(0.01)
    with open(sample.metadata["file"], "a") as file:
        file.write(f"{child.pid}\n")
    if sample.response == "hang":
        time.sleep(600)


def wait_for(sample: Sample) -> None:
    while not Path(sample.metadata["file"]).exists():
        time.sleep(0.01)


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


def kill_parent(_: Sample) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)  # the kernel kills this process too


ACTS: dict[str, Callable[[Sample], Any]] = {
    "kill_parent": kill_parent,
    "sleep": lambda sample: time.sleep(float(sample.response)),
    "wait_for": wait_for,
    "loop": loop_for_ever,
    "stuck_in_c": lambda _: 9**9**9**9,
    "regex": lambda _: re.match(r"(a+)+$", "a" * 64 + "b"),
    "memory": fill_memory,
    "leak": lambda _: LEAKED.append(bytearray(b"x") * (40 * 1024**2)),
    "segfault": lambda _: ctypes.string_at(0),
    "die": note_and_die,
    "child": leave_a_child_and_hang,
    "daemon": leave_a_daemon,
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
    "bare": lambda _: [7.0],
    "none_in_list": lambda _: [None],
    "error_text": lambda _: [Score(None, "no answer")],  # pyright: ignore[reportArgumentType]
    "unknown_code": lambda _: [Score(None, SampleError("no_answer", "", False))],  # pyright: ignore
    "both": lambda _: [Score(1.0, sample_error("bad_ground_truth", "unreadable"))],
    "int_keys": lambda _: [Score(1.0, explanation={1: "one"})],  # pyright: ignore
    "explanation_text": lambda _: [Score(1.0, explanation="because")],  # pyright: ignore
    "surrogate_inside": lambda _: [Score(1.0, explanation={"what": ["\ud800"]})],
    "surrogate_error": lambda _: [Score(error=sample_error("bad_ground_truth", "what is \ud800"))],
    "surrogate_raised": lambda _: (_ for _ in ()).throw(ValueError("\ud800")),
    "beyond": lambda _: [Score(-1.0)],
    "huge_int": lambda _: [Score(10**400)],
    "undeclared": lambda sample: [Score(float(sample.prompt is None))],
    "float32": lambda _: [Score(np.float32(0.5))],  # pyright: ignore[reportArgumentType]
    "int64": lambda _: [Score(np.int64(7))],  # pyright: ignore[reportArgumentType]
    "numpy_bool": lambda _: [Score(np.bool_(True))],  # pyright: ignore[reportArgumentType]
    "bool": lambda _: [Score(True)],
    "numpy_told": lambda _: [
        Score(1.0, explanation={"words": np.int64(3), "ratios": np.array([0.5, 0.25])})
    ],
    "rounding": lambda _: [Score(-1e-12)],
    "raise_here": raise_here,
    "babble": babble,
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
