"""`reward-server score`: score stored samples without a server.

It uses the same engine as the server, so it gives the same rewards. One file passes through this
process, a few batches at a time. Results are written to a draft beside the output, which is renamed
once it is complete. With `--engine ray`, `score_on_ray` takes over.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.draft import STDOUT, Draft, MadeFrom, open_draft
from touchstone_rewards.reward_server.stored.lines import STDIN
from touchstone_rewards.reward_server.stored.progress import progress_bar
from touchstone_rewards.reward_server.stored.read import open_samples
from touchstone_rewards.reward_server.stored.rejects import Rejects
from touchstone_rewards.reward_server.stored.stream import (
    Tally,
    json_lines,
    offline_engine,
    request_batches,
    score_stream,
    started,
)

PARTITION_BYTES = 64 * 2**20
REJECTED = "rejected.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        metavar="PATH",
        help="samples: JSONL (.gz, .zst) or Parquet, - for standard input; with --engine ray also "
        "a folder, pattern or URI",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="results, JSONL: a file (.gz, .zst), - for standard output; with --engine ray a "
        "folder or its URI",
    )
    parser.add_argument("--profile", default="math", help="the profile to score with")
    parser.add_argument("--explain", action="store_true", help="add an explanation to each result")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    parser.add_argument(
        "--max_bad_frac",
        type=float,
        default=0.0,
        metavar="FRAC",
        help=f"largest share of invalid rows; they go to {REJECTED} beside the output (default: 0, "
        "stop at the first)",
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this process, or Ray Data"
    )
    parser.add_argument(
        "--partition_bytes",
        type=int,
        default=PARTITION_BYTES,
        metavar="BYTES",
        help="input bytes per file of results, on Ray (default: 64 MiB)",
    )
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="actors on Ray (default: the cluster's CPUs)"
    )
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    if arguments.overwrite and arguments.resume:
        raise ConfigError("--overwrite starts anew and --resume continues; give one of them")
    if arguments.engine == "ray":
        _refuse_for_ray(arguments)
        from touchstone_rewards.reward_server.commands.score_on_ray import score_on_ray

        return score_on_ray(arguments, settings)
    return score_here(arguments, settings)


def _refuse_for_ray(arguments: argparse.Namespace) -> None:
    for name in ("overwrite", "resume", "max_bad_frac"):
        if getattr(arguments, name):
            raise ConfigError(
                f"--{name} is not for --engine ray: running the same command again continues in "
                "its folder, and invalid rows go to part-NUMBER.rejected.jsonl"
            )


def score_here(arguments: argparse.Namespace, settings: Settings) -> int:
    """Score one file in this process.

    Raises:
        ConfigError: it cannot be read, has an invalid row, or the output already exists.
        RunFailed: the results cannot be written.
    """
    source = Path(arguments.input)
    if str(source) != STDIN and (not source.exists() or source.is_dir()):
        raise ConfigError(
            f"input {source} is not a file; give JSONL, one sample per line, or Parquet; folders, "
            "patterns and URIs need --engine ray"
        )
    if not 0 <= arguments.max_bad_frac <= 1:
        raise ConfigError(
            f"--max_bad_frac is {arguments.max_bad_frac:g}; expected a fraction from 0 to 1"
        )
    engine = offline_engine(settings, arguments.profile)
    with ExitStack() as stack:
        total, rows = open_samples(source, stack)
        draft = _open_output(arguments, source, engine.profiles[arguments.profile], stack)
        if draft is None:
            print(f"{arguments.output} is complete: nothing left to do")
            return 0
        rejects = Rejects(
            _open_rejected(arguments, source, draft, stack), arguments.max_bad_frac, total
        )
        progress = stack.enter_context(progress_bar())
        task = progress.add_task(arguments.profile, total=total)
        tally = Tally()
        samples = after_kept(rejects.passed(rows), draft, tally)
        groups = engine.profiles[arguments.profile].info.groups is not None
        requests = (
            ScoreRequest(batch, profile=arguments.profile, explain=arguments.explain)
            for batch in request_batches(samples, groups=groups)
        )
        asyncio.run(_score_file(engine, requests, draft, tally, partial(progress.update, task)))
        rejects.finish()
        draft.finish()
        tally.rejected = rejects.count
    print(tally.line(draft.target), file=sys.stderr if arguments.output == STDOUT else sys.stdout)
    return 0


def _open_output(
    arguments: argparse.Namespace, source: Path, profile: Profile, stack: ExitStack
) -> Draft | None:
    running = [each for each in profile.reached() if each.by_earlier]
    if arguments.resume and running:
        raise ConfigError(
            f"profile {running[0].name} scores by earlier samples (normalization: running, or "
            "remember), which a stopped run does not keep, so --resume cannot continue; "
            "--overwrite starts anew"
        )
    input_ = STDIN if str(source) == STDIN else os.path.abspath(source)
    draft = open_draft(
        arguments.output,
        [source],
        MadeFrom(profile.name, profile.fingerprint, arguments.explain, input_),
        overwrite=arguments.overwrite,
        resume=arguments.resume,
    )
    if draft is not None:
        stack.callback(draft.close)
    return draft


def _open_rejected(
    arguments: argparse.Namespace, source: Path, output: Draft, stack: ExitStack
) -> Draft | None:
    """Open the file of invalid rows; a resumed run reads all input again and rewrites it."""
    if not arguments.max_bad_frac:
        return None
    folder = output.target.parent if output.path else Path()
    draft = open_draft(
        str(folder / REJECTED),
        [source, output.target],
        MadeFrom(arguments.profile, ""),
        overwrite=arguments.overwrite or arguments.resume,
        resumable=False,
    )
    assert draft is not None
    stack.callback(draft.close)
    return draft


def after_kept(samples: Iterator[Sample], draft: Draft, tally: Tally) -> Iterator[Sample]:
    """Yield the samples without a result in the draft of an earlier run; count those with one.

    Raises:
        ConfigError: the draft's results are not those of these samples.
    """
    for number, line in enumerate(draft.kept_lines(), 1):
        kept = msgspec.json.decode(line, type=SampleResult)
        sample = next(samples, None)
        if sample is None or sample.id != kept.id:
            came = "no more samples" if sample is None else f"sample {sample.id!r}"
            raise ConfigError(
                f"{draft.path}, line {number} is for sample {kept.id!r}, but the input has {came} "
                "there: the input has changed; --overwrite starts anew"
            )
        tally.add([kept])
    yield from samples


async def _score_file(
    engine: Engine,
    requests: Iterator[ScoreRequest],
    draft: Draft,
    tally: Tally,
    show: Callable[..., None],
) -> None:
    await started(engine)
    try:
        async for results in score_stream(engine, requests):
            draft.append(json_lines(results))
            tally.add(results)
            show(completed=tally.scored + tally.failed)
    finally:
        await engine.stop()
