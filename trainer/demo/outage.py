"""Kill the reward server during training, restart it, and account for every sample.

The account compares the trainer's stored samples with the server's score log. The trainer does not
know of the outage; it waits for the server.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from touchstone_rewards.trainer.data.kept_samples import KeptSample
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.workflow.local_server import LiveServer, ServerFailed

# The logger on which the client reports that it waits for a server.
CLIENT_LOGGER = "touchstone_rewards.clients.transport"
LOOK_EVERY_S = 0.1
SETTLE_S = 1.0  # a thread of the server writes the score log, and the kill ends it too


@dataclass
class Outage:
    """The server is killed before update `step`, or before a later one if updates are very fast.

    Times are seconds since 1970; 0.0 means not yet.
    """

    step: int
    killed_at_s: float = 0.0
    back_at_s: float = 0.0


@contextmanager
def killed_before(step: int, server: LiveServer, samples: Path) -> Iterator[Outage]:
    """Kill the server once the samples of the update before `step` are on disk, and restart it once
    the trainer has failed to reach it.

    Code that needs the server afterwards must run inside the block: the server dies with the thread
    that started it.

    Raises:
        RunFailed: the server did not restart, or the run never reached this update.
    """
    outage = Outage(step)
    asked, over = threading.Event(), threading.Event()
    listener = _Listener(outage, asked)
    logging.getLogger(CLIENT_LOGGER).addHandler(listener)
    failed: list[ServerFailed] = []

    def work() -> None:
        try:
            _kill_and_restart(outage, server, samples, asked, over)
        except ServerFailed as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="outage", daemon=True)
    thread.start()
    try:
        yield outage
    finally:
        over.set()
        asked.set()
        thread.join()
        logging.getLogger(CLIENT_LOGGER).removeHandler(listener)
    if failed:
        raise RunFailed(f"the killed reward server did not start again: {failed[0]}")
    if not outage.back_at_s:
        raise RunFailed(f"the server was not killed: the run never reached update {step}")


class _Listener(logging.Handler):
    """Notices when the client reports that it waits for a server."""

    def __init__(self, outage: Outage, asked: threading.Event) -> None:
        super().__init__()
        self.outage, self.asked = outage, asked

    def emit(self, record: logging.LogRecord) -> None:
        if self.outage.killed_at_s:
            self.asked.set()


def _kill_and_restart(
    outage: Outage,
    server: LiveServer,
    samples: Path,
    asked: threading.Event,
    over: threading.Event,
) -> None:
    before = samples / f"samples_step_{outage.step - 1}.jsonl"
    while not before.is_file():
        if over.wait(LOOK_EVERY_S):
            return
    over.wait(SETTLE_S)
    server.kill()
    outage.killed_at_s = time.time()
    console = Console()
    console.print(f"kill -9: the reward server is gone after {outage.step - 1} updates")
    asked.wait()
    if over.is_set():
        return
    console.print("the trainer waits for rewards; the server is being restarted")
    server.restart()
    outage.back_at_s = time.time()
    down_s = outage.back_at_s - outage.killed_at_s
    console.print(f"the reward server is back after {down_s:.1f} s")
    over.wait()


class SampleAccount(NamedTuple):
    """The account of a run whose server was killed.

    `sampled`: responses that the updates used. `kept`: samples on disk. `unrewarded`: kept samples
    without a reward. `made_up`: kept samples whose reward is in no line of the server's log.
    `by_first`, `by_second`: rewards given before and after the kill.
    """

    step: int
    down_s: float
    waited_s: float
    sampled: int
    kept: int
    unrewarded: int
    made_up: int
    by_first: int
    by_second: int

    @property
    def lost(self) -> int:
        return self.sampled - self.kept

    @property
    def is_whole(self) -> bool:
        """Return whether every sample is kept once, with the reward that the server gave it."""
        return not (self.lost or self.unrewarded or self.made_up)

    def told(self) -> str:
        """Return the account in words."""
        return (
            f"Before update {self.step} the reward server was killed (kill -9). It was back after "
            f"{self.down_s:.1f} s, and the update waited {self.waited_s:.1f} s for "
            f"its rewards. {self.sampled} responses were sampled and {self.kept} are kept: "
            f"{self.lost} lost, {self.unrewarded} without a reward. The server's log contains "
            f"{self.by_first} of the rewards from before the kill and {self.by_second} from after "
            f"it: {self.made_up} made up."
        )


def account_of(
    outage: Outage,
    samples: Sequence[KeptSample],
    score_log: Sequence[dict[str, Any]],
    *,
    sampled: int,
    waits: Mapping[int, float],
) -> SampleAccount:
    """Compare the trainer's samples with the server's log.

    A reward is the server's if a line of the log has the same id, response and reward; each line
    counts for one sample. `waits` are the seconds that each update waited for its rewards.
    """
    times: dict[tuple[str, str, float], list[float]] = {}
    for line in score_log:
        key = line["sample"]["id"], line["sample"]["response"], line["result"]["reward"]
        times.setdefault(key, []).append(line["time"])
    found = Counter[str]()
    waiting: list[int] = []  # updates with rewards from the second server
    for sample in samples:
        if sample.reward is None:
            found["unrewarded"] += 1
        elif not (lines := times.get((sample.id, sample.response, sample.reward))):
            found["made_up"] += 1
        elif lines.pop(0) < outage.killed_at_s:
            found["by_first"] += 1
        else:
            found["by_second"] += 1
            waiting.append(sample.step)
    step = min(waiting, default=outage.step)
    return SampleAccount(
        step=step,
        down_s=outage.back_at_s - outage.killed_at_s,
        waited_s=waits.get(step, 0.0),
        sampled=sampled,
        kept=len(samples),
        **{name: found[name] for name in ("unrewarded", "made_up", "by_first", "by_second")},
    )


def read_score_log(path: Path, profile: str) -> list[dict[str, Any]]:
    """Return a profile's lines in a server's score log, without an incomplete last line."""
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    return [line for line in lines if line["profile"] == profile]
