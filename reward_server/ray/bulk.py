"""Score partitions with Ray Data: one actor per core, each with one engine and one worker process.

It writes the files of each partition and reports its outcome. An actor that dies is restarted and
its partition retried; a partition that fails `TRIES` times is reported at the end, after the others
are done.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

import msgspec
import pyarrow
import ray
import ray.data
from msgspec import Struct

from touchstone_rewards.reward_server.ray.session import connect
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.part_rows import Rejected, read_rows
from touchstone_rewards.reward_server.stored.partitions import (
    Partition,
    part_files,
    place,
)
from touchstone_rewards.reward_server.stored.stream import (
    Tally,
    json_lines,
    offline_engine,
    request_batches,
    score_stream,
    started,
)

T = TypeVar("T")

TRIES = 3
RETRY_S = 1.0


class Job(Struct, frozen=True):
    """The options of all partitions. `settings`: the content of a `Settings`."""

    input: str
    output: str
    profile: str
    explain: bool
    settings: dict[str, Any]


class Outcome(Struct, frozen=True):
    """The outcome of a partition; with an `error`, it is not done."""

    name: str
    tally: Tally = msgspec.field(default_factory=Tally)
    error: str = ""


class PartScorer:
    """An actor: an event loop in its own thread, and the engine with its worker process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.loop = asyncio.new_event_loop()
        # Workers end with the thread that started them, and Ray may change threads between calls.
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        chosen: dict[str, Any] = {**job.settings, "workers": 1}
        settings = Settings(**chosen)
        self.row_bytes = settings.max_body_bytes
        self.engine = self._wait(started(offline_engine(settings, job.profile)))

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        [row] = batch.to_pylist()
        outcome = self._outcome(msgspec.convert(row, Partition))
        return pyarrow.Table.from_pylist([msgspec.to_builtins(outcome)])

    def _outcome(self, part: Partition) -> Outcome:
        said = ""
        for attempt in range(TRIES):
            time.sleep(RETRY_S * attempt)
            try:
                tally = self._wait(score_part(self.engine, self.job, part, self.row_bytes))
            except Exception as error:  # noqa: BLE001, the boundary of a batch
                said = f"{type(error).__name__}: {error}"
            else:
                return Outcome(part.name, tally)
        return Outcome(part.name, error=said)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


async def score_part(engine: Engine, job: Job, part: Partition, row_bytes: int) -> Tally:
    """Read, score and write one partition."""
    tally = Tally()
    groups = engine.profiles[job.profile].info.groups is not None
    with part_files(place(job.output), part.name) as (target, rejected):
        rows = read_rows(place(job.input).store, part, row_bytes, whole_groups=groups)
        requests = (
            ScoreRequest(batch, profile=job.profile, explain=job.explain)
            for batch in request_batches(_samples(rows, rejected, tally), groups=groups)
        )
        async for results in score_stream(engine, requests):
            target.write(json_lines(results))
            tally.add(results)
    return tally


def _samples(
    rows: Iterator[Sample | Rejected], rejected: BinaryIO, tally: Tally
) -> Iterator[Sample]:
    for row in rows:
        if isinstance(row, Rejected):
            rejected.write(msgspec.json.encode(row) + b"\n")
            tally.rejected += 1
        else:
            yield row


def run(
    job: Job, parts: Sequence[Partition], concurrency: int | None, done: Callable[[Outcome], None]
) -> None:
    """Score the partitions on the cluster, and call `done` with each outcome. A partition that is
    never reported killed its actor `TRIES` times."""
    connect()
    try:
        for row in _dataset(job, parts, concurrency or _cores()).iter_rows():
            done(msgspec.convert(row, Outcome))
    finally:
        ray.shutdown()


def _cores() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _dataset(job: Job, parts: Sequence[Partition], concurrency: int) -> ray.data.Dataset:
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # There is no other way to set the number of retries yet.
    warnings.filterwarnings("ignore", ".*`ray_remote_args` is deprecated")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    rows = [msgspec.to_builtins(part) for part in parts]
    # One partition per block and one per actor at a time: a partition that kills its actor uses up
    # no retries of others.
    return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        PartScorer,
        fn_constructor_args=(job,),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            size=min(concurrency, len(rows)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=1,
        num_gpus=job.settings["cluster_gpu_share"],
        max_restarts=-1,
        max_task_retries=TRIES - 1,
    )
