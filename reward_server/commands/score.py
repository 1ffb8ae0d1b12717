"""`reward-server score`: a JSONL file of samples to a JSONL file of results, without a server.

The same engine as the service's, so the same rewards. One batch is held at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reward_server.commands.settings_arguments import add_settings_arguments, settings_from
from reward_server.engine import Engine, create_engine
from reward_server.errors import ConfigError
from reward_server.metrics import Metrics
from reward_server.profiles import load_profiles
from reward_server.schemas import Sample, SampleResult, ScoreRequest, ScoreResponse
from reward_server.settings import Settings

T = TypeVar("T")

BATCH_SAMPLES = 1024
IN_FLIGHT_BATCHES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="samples, JSONL")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="results, JSONL")
    parser.add_argument("--profile", default="math", help="the profile to score with")
    parser.add_argument("--explain", action="store_true", help="say how each score came about")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    if not arguments.input.is_file():
        raise ConfigError(f"input {arguments.input} is not a file; give JSONL, one sample a line")
    engine = offline_engine(settings, arguments.profile)
    total = count_lines(arguments.input)
    with ExitStack() as stack:
        source = stack.enter_context(arguments.input.open("rb"))
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        target = stack.enter_context(arguments.output.open("wb"))
        progress = stack.enter_context(progress_bar())
        task = progress.add_task(arguments.profile, total=total)
        samples = read_samples(source, arguments.input)
        requests = (
            ScoreRequest(batch, profile=arguments.profile, explain=arguments.explain)
            for batch in batches(samples, BATCH_SAMPLES)
        )
        advance = partial(progress.advance, task)
        tally = asyncio.run(_score_file(engine, requests, target, advance))
    print(tally.line(arguments.output))
    return 0


class Tally(msgspec.Struct):
    """What the run came to."""

    scored: int = 0
    failed: int = 0
    total_reward: float = 0.0

    def add(self, results: list[SampleResult]) -> None:
        for result in results:
            if result.reward is None:
                self.failed += 1
            else:
                self.scored += 1
                self.total_reward += result.reward

    def line(self, output: Path) -> str:
        mean = f"{self.total_reward / self.scored:.4f}" if self.scored else "none"
        return f"{self.scored} scored, {self.failed} failed, mean reward {mean} -> {output}"


def read_samples(source: BinaryIO, path: Path) -> Iterator[Sample]:
    """The samples of a JSONL stream; blank lines are passed over.

    Raises:
        ConfigError: a line that is not a sample, named by its number.
    """
    return read_lines(source, path, msgspec.json.Decoder(Sample).decode)


def read_lines(source: Iterable[bytes], path: Path, decode: Callable[[bytes], T]) -> Iterator[T]:
    """What `decode` makes of each line of a JSONL stream that is not blank.

    Raises:
        ConfigError: a line that does not fit, named by its number.
    """
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f'{path}, line {number}: {error}; expected {{"id": "…", "response": "…", …}}; '
                "the results of the lines before it are kept"
            ) from error


def batches(samples: Iterator[T], size: int) -> Iterator[list[T]]:
    """Cut the stream; what stands before a bad line comes out before the error does."""
    batch: list[T] = []
    try:
        for sample in samples:
            batch.append(sample)
            if len(batch) == size:
                yield batch
                batch = []
    except ConfigError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


async def score_stream(
    engine: Engine, requests: Iterator[ScoreRequest]
) -> AsyncIterator[list[SampleResult]]:
    """Score requests a few at a time, so that one slow sample idles no worker; answer in order."""
    in_flight: deque[asyncio.Task[ScoreResponse]] = deque()
    exhausted: Exception | None = None
    while True:
        while exhausted is None and len(in_flight) < IN_FLIGHT_BATCHES:
            try:
                in_flight.append(asyncio.create_task(engine.score(next(requests))))
            except (StopIteration, ConfigError) as end:
                exhausted = end
        if not in_flight:
            break
        yield (await in_flight.popleft()).results
    if isinstance(exhausted, ConfigError):
        raise exhausted


async def _score_file(
    engine: Engine,
    requests: Iterator[ScoreRequest],
    target: BinaryIO,
    advance: Callable[[int], None],
) -> Tally:
    tally = Tally()
    await engine.start()
    try:
        async for results in score_stream(engine, requests):
            target.write(b"".join(msgspec.json.encode(result) + b"\n" for result in results))
            tally.add(results)
            advance(len(results))
    finally:
        await engine.stop()
    return tally


def offline_engine(settings: Settings, profile: str) -> Engine:
    """An engine for files: with the workers and profiles of the settings, without a deadline.

    Raises:
        ConfigError: there is no such profile.
    """
    profiles = load_profiles(settings.profile_dirs)
    if profile not in profiles:
        raise ConfigError(f"profile {profile!r} is not known; known: {', '.join(profiles)}")
    # No one waits at the other end: a sample has its deadline, the file has none.
    settings = settings.model_copy(update={"request_deadline_s": math.inf})
    return create_engine(profiles, settings, Metrics())


def count_lines(path: Path) -> int:
    """How many lines of the file are not blank."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def progress_bar() -> Progress:
    """A bar on standard error for work on samples."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
