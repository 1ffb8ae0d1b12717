"""`reward-server lint-truths`: find ground truths that the math scorer cannot read or may misread.

It reads a data set in the forms that trainers read, prints counts by kind with examples, and writes
a report of all findings. Exit status 1 if more than `--max_frac` of the ground truths have one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from touchstone_rewards.reward_server.commands.score import progress_bar
from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.scorers.math import MathScorer, Policy
from touchstone_rewards.reward_server.scorers.math.lint import KINDS, Finding, lint_truth, read_as
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.rows import TRUTH_COLUMNS, read_column
from touchstone_rewards.reward_server.stored.stream import known_profile

SHOWN_EXAMPLES, SHOWN_CHARS = 3, 60
ADVANCE_ROWS = 200
REMEMBERED = 100_000  # ground truths whose findings are kept, because many repeat


class Found(Struct, omit_defaults=True):
    """One finding, as it stands in the report."""

    row: int
    ground_truth: Any
    kind: str
    said: str
    read_as: str | None = None
    suggestion: str | list[str] | None = None


class Report(Struct):
    """All findings in a file. `share`: share of the ground truths that have a finding."""

    input: str
    column: str
    profile: str
    rows: int = 0
    flagged: int = 0
    share: float = 0.0
    kinds: dict[str, int] = {}
    findings: list[Found] = field(default_factory=list[Found])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", type=Path, required=True, metavar="FILE", help="JSONL, JSON or Parquet"
    )
    parser.add_argument(
        "--column",
        metavar="NAME",
        help="column of the ground truths, a dot for a field of an object (default: the first of "
        f"{', '.join(TRUTH_COLUMNS)})",
    )
    parser.add_argument("--profile", default="math", help="use the math scorer of this profile")
    parser.add_argument(
        "--max_frac",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="exit 1 if a larger share of the ground truths has a finding (default: 0)",
    )
    parser.add_argument(
        "--ignore",
        default="",
        metavar="KINDS",
        help=f"kinds to skip, separated by commas: {', '.join(KINDS)}",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write every finding, JSON")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.max_frac <= 1:
        raise ConfigError(f"--max_frac is {arguments.max_frac:g}; expected a share from 0 to 1")
    ignored = _ignored(arguments.ignore)
    policy = _policy(settings_from(arguments), arguments.profile)
    column = read_column(arguments.input, arguments.column, TRUTH_COLUMNS)
    report = Report(str(arguments.input), column.name, arguments.profile)
    with progress_bar() as progress:
        task = progress.add_task(f"column {column.name}", total=column.rows)
        fill(report, column.values, policy, ignored, lambda n: progress.advance(task, n))
    if arguments.report is not None:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_bytes(
            msgspec.json.format(msgspec.json.encode(report, enc_hook=str), indent=1)
        )
    _print(report, arguments.report)
    return 1 if report.share > arguments.max_frac else 0


def fill(
    report: Report,
    values: Iterator[tuple[int, Any]],
    policy: Policy,
    ignored: frozenset[str],
    advance: Callable[[int], None],
) -> None:
    """Add the findings in the values to the report."""
    known: dict[str, list[Finding]] = {}
    kinds: Counter[str] = Counter()
    for row, truth in values:
        found = known.get(truth) if isinstance(truth, str) else None
        if found is None:
            found = [each for each in lint_truth(truth, policy) if each.kind not in ignored]
            if isinstance(truth, str) and len(known) < REMEMBERED:
                known[truth] = found
        report.rows += 1
        report.flagged += bool(found)
        kinds.update({each.kind for each in found})
        read = read_as(truth) if found else None
        report.findings += [
            Found(row, truth, each.kind, each.said, read, each.suggestion) for each in found
        ]
        if report.rows % ADVANCE_ROWS == 0:
            advance(ADVANCE_ROWS)
    advance(report.rows % ADVANCE_ROWS)
    report.kinds = dict(kinds.most_common())
    report.share = report.flagged / report.rows


def _ignored(kinds: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in kinds.split(",") if name.strip())
    if unknown := sorted(names - KINDS.keys()):
        raise ConfigError(f"--ignore names {unknown[0]!r}; the kinds are {', '.join(KINDS)}")
    return names


def _policy(settings: Settings, name: str) -> Policy:
    """Return the policy of a profile's math scorer.

    Raises:
        ConfigError: there is no such profile, or it has no math scorer.
    """
    _, profile = known_profile(settings, name)
    for scorer in profile.scorers.values():
        if isinstance(scorer, MathScorer):
            return scorer.policy
    raise ConfigError(f"profile {name!r} has no math scorer; use math, math_strict or math_lenient")


def _print(report: Report, target: Path | None) -> None:
    console = Console(soft_wrap=True, highlight=False)
    if report.kinds:
        table = Table("kind", "count", "share", "what it means", box=None)
        for kind, count in report.kinds.items():
            table.add_row(kind, str(count), f"{count / report.rows:.2%}", KINDS[kind])
        console.print(table)
        for kind in report.kinds:
            _print_examples(console, report, kind)
    console.print(
        f"{report.flagged} of {report.rows} ground truths in column {report.column!r} have a "
        f"finding ({report.share:.2%})",
        markup=False,
    )
    if target is not None:
        console.print(f"findings -> {target}", markup=False)


def _print_examples(console: Console, report: Report, kind: str) -> None:
    console.print(f"\n{kind}", markup=False)
    shown: dict[str, Found] = {}
    for each in report.findings:
        if each.kind == kind and len(shown) < SHOWN_EXAMPLES:
            shown.setdefault(_visible(each.ground_truth), each)
    for text, each in shown.items():
        line = f"  row {each.row}: {text}   {_visible(each.said)}"
        if each.suggestion is not None:
            line += f"; write {_visible(each.suggestion)}"
        console.print(line, markup=False)


def _visible(value: object) -> str:
    """Return a value on one short line, with unprintable characters escaped."""
    text = str(value)[:SHOWN_CHARS]
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
