"""`reward-server score`: stored samples to JSONL results, without a server.

The same engine as the service's, so the same rewards. Here: one file through this process, a few
batches held at a time. With `--engine ray`, `score_on_ray` takes over.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.progress import progress_bar
from touchstone_rewards.reward_server.stored.read import open_samples
from touchstone_rewards.reward_server.stored.stream import (
    BATCH_SAMPLES,
    Tally,
    batches,
    json_lines,
    offline_engine,
    score_stream,
    started,
)

PARTITION_BYTES = 64 * 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        metavar="PATH",
        help="samples, JSONL or Parquet; with --engine ray also a folder, a pattern, a URI",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="results, JSONL: a file; with --engine ray a folder, or its URI",
    )
    parser.add_argument("--profile", default="math", help="the profile to score with")
    parser.add_argument("--explain", action="store_true", help="say how each score came about")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this process, or Ray Data"
    )
    parser.add_argument(
        "--partition_bytes",
        type=int,
        default=PARTITION_BYTES,
        metavar="BYTES",
        help="of input for one file of results, on Ray (default: 64 MiB)",
    )
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="actors on Ray (default: the cluster's CPUs)"
    )
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    if arguments.engine == "ray":
        from touchstone_rewards.reward_server.commands.score_on_ray import score_on_ray

        return score_on_ray(arguments, settings)
    return score_here(arguments, settings)


def score_here(arguments: argparse.Namespace, settings: Settings) -> int:
    """One file through this process.

    Raises:
        ConfigError: it is no file, or has a row that is no sample.
    """
    source, output = Path(arguments.input), Path(arguments.output)
    if not source.is_file():
        raise ConfigError(
            f"input {source} is not a file; give JSONL, one sample a line, or Parquet; folders, "
            "patterns and URIs need --engine ray"
        )
    engine = offline_engine(settings, arguments.profile)
    with ExitStack() as stack:
        total, samples = open_samples(source, stack)
        output.parent.mkdir(parents=True, exist_ok=True)
        target = stack.enter_context(output.open("wb"))
        progress = stack.enter_context(progress_bar())
        task = progress.add_task(arguments.profile, total=total)
        requests = (
            ScoreRequest(batch, profile=arguments.profile, explain=arguments.explain)
            for batch in batches(samples, BATCH_SAMPLES)
        )
        advance = partial(progress.advance, task)
        tally = asyncio.run(_score_file(engine, requests, target, advance))
    print(tally.line(output))
    return 0


async def _score_file(
    engine: Engine,
    requests: Iterator[ScoreRequest],
    target: BinaryIO,
    advance: Callable[[int], None],
) -> Tally:
    tally = Tally()
    await started(engine)
    try:
        async for results in score_stream(engine, requests):
            target.write(json_lines(results))
            tally.add(results)
            advance(len(results))
    finally:
        await engine.stop()
    return tally
