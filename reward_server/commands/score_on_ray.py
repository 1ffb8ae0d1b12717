"""`reward-server score --engine ray`: score files, folders or patterns in partitions with Ray Data.

It continues where an earlier run of the same command stopped, and exits 1 if a partition failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.ray.session import prepare
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.progress import progress_bar
from touchstone_rewards.reward_server.stored.read import need_pyarrow
from touchstone_rewards.reward_server.stored.stream import Tally, known_profile

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.ray.bulk import Outcome
    from touchstone_rewards.reward_server.stored.partitions import Partition

SHOWN_FAILURES = 20


def score_on_ray(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the command on Ray and return its exit status.

    Raises:
        ConfigError: no input, an output folder made from something else, or no Ray.
    """
    profile = _checked(arguments, settings)
    need_pyarrow()
    from touchstone_rewards.reward_server.stored.partitions import (
        Manifest,
        cut,
        input_files,
        open_output,
        place,
        whole_parts,
    )

    store, files = input_files(arguments.input)
    parts = cut(store, files, arguments.partition_bytes)
    about = profile.name, profile.fingerprint, arguments.explain, arguments.partition_bytes
    output = place(arguments.output)
    whole = open_output(output, Manifest(*about, files))
    todo = [part for part in parts if part.name not in whole]
    if len(todo) < len(parts):
        print(f"{len(parts) - len(todo)} of {len(parts)} partitions were already complete")
    outcomes = _score(arguments, settings, todo)
    whole_parts(output)
    return _report(todo, outcomes, arguments.output)


def _checked(arguments: argparse.Namespace, settings: Settings) -> Profile:
    prepare("--engine ray")
    for name in ("partition_bytes", "concurrency"):
        given = getattr(arguments, name)
        if given is not None and given < 1:
            raise ConfigError(f"--{name} is {given}; expected at least 1")
    _, profile = known_profile(settings, arguments.profile)
    if any(each.by_earlier for each in profile.reached()):
        raise ConfigError(
            f"profile {profile.name} scores by earlier samples (normalization: running, or "
            "remember), and partitions have no order; score with --engine local"
        )
    return profile


def _score(
    arguments: argparse.Namespace, settings: Settings, todo: list[Partition]
) -> dict[str, Outcome]:
    """Return the outcome of each partition by its name."""
    if not todo:
        return {}
    from touchstone_rewards.reward_server.ray.bulk import Job, run

    for name in ("profiles_dir", "plugins_dir"):
        if (folder := getattr(settings, name)) is not None:
            setattr(settings, name, folder.absolute())
    input_, output = map(_absolute, (arguments.input, arguments.output))
    job = Job(input_, output, arguments.profile, arguments.explain, settings.model_dump())
    outcomes: dict[str, Outcome] = {}
    with progress_bar() as progress:
        task = progress.add_task(f"{arguments.profile}, partitions", total=len(todo))

        def done(outcome: Outcome) -> None:
            outcomes[outcome.name] = outcome
            progress.advance(task)

        run(job, todo, arguments.concurrency, done)
    return outcomes


def _absolute(where: str) -> str:
    """Return the place as an absolute path, valid in an actor's working folder too."""
    return where if "://" in where else str(Path(where).absolute())


def _report(todo: list[Partition], outcomes: dict[str, Outcome], output: str) -> int:
    tally = sum((each.tally for each in outcomes.values()), Tally())
    failures = [
        f"{part.name} ({part.path}, {part.begin} to {part.end}): {said}"
        for part in todo
        if (said := outcomes[part.name].error if part.name in outcomes else "its process died")
    ]
    for line in failures[:SHOWN_FAILURES]:
        print(f"reward-server: {line}", file=sys.stderr)
    print(tally.line(output))
    if failures:
        print(
            f"{len(failures)} of {len(todo)} partitions failed; run the same command to retry them"
        )
    return 1 if failures else 0
