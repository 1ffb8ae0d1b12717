"""`reward-server audit`: report what a profile accepts, refuses and can be tricked into.

It reads the rows that a policy is to be trained on, and writes `report.html`, `audit.json` and, for
a score log, `to_label.jsonl`. Exit status 1 if a threshold is exceeded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from touchstone_rewards.reward_server.audit.disagreements import ToLabel, label_line, read_log
from touchstone_rewards.reward_server.audit.labelled import read_labelled
from touchstone_rewards.reward_server.audit.page import page
from touchstone_rewards.reward_server.audit.report import AuditReport
from touchstone_rewards.reward_server.audit.rows import read_audit_rows
from touchstone_rewards.reward_server.audit.run import (
    DEFAULT_THRESHOLDS,
    THRESHOLDS,
    AuditInput,
    audit,
)
from touchstone_rewards.reward_server.audit.scored import AuditedProfile, scoring_at, scoring_here
from touchstone_rewards.reward_server.audit.strategies import FAMILIES, STRATEGIES, Strategy
from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.stored.progress import progress_bar
from touchstone_rewards.reward_server.stored.read import read_samples

REPORT, PAGE, TO_LABEL = "audit.json", "report.html", "to_label.jsonl"
SHOWN_STRATEGIES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows to train on: JSONL, JSON or Parquet",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the report"
    )
    parser.add_argument("--profile", default="math", help="the profile to audit [math]")
    parser.add_argument(
        "--url", help="a server that has the profile; its key is read from REWARD_API_KEY"
    )
    parser.add_argument(
        "--rows", type=int, default=100, metavar="N", help="number of rows to try [100]"
    )
    parser.add_argument(
        "--strategies",
        metavar="FAMILIES",
        help=f"try only these, separated by commas: {', '.join(FAMILIES)}",
    )
    parser.add_argument(
        "--labelled", type=Path, metavar="FILE", help="samples labeled yes, no or unclear: JSONL"
    )
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="a score log to choose samples to label from"
    )
    parser.add_argument(
        "--against", metavar="PROFILE", help="compare with this profile [the logged verdicts]"
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="a start model's responses, in groups: JSONL"
    )
    shown = ",".join(f"{name}={most:g}" for name, most in DEFAULT_THRESHOLDS.items())
    parser.add_argument(
        "--fail_on",
        metavar="LIMITS",
        default=shown,
        help=f"exit 1 above these shares of {', '.join(THRESHOLDS)} [{shown}]",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.rows < 1:
        raise ConfigError(f"--rows is {arguments.rows}; expected 1 or more")
    if arguments.against and not arguments.log:
        raise ConfigError("--against compares verdicts on a score log; give it with --log")
    if (arguments.output / REPORT).exists() and not arguments.overwrite:
        raise ConfigError(f"{arguments.output / REPORT} exists; --overwrite replaces it")
    total, rows = read_audit_rows(arguments.input, arguments.rows)
    given = AuditInput(
        arguments.profile,
        arguments.input,
        total,
        rows,
        _strategies(arguments.strategies),
        read_labelled(arguments.labelled) if arguments.labelled else (),
        read_log(arguments.log, 100 * arguments.rows) if arguments.log else (),
        list(read_samples(arguments.samples)) if arguments.samples else (),
        arguments.against,
        _thresholds(arguments.fail_on),
    )
    report, to_label = asyncio.run(_audit(arguments, given))
    _write(arguments.output, report, to_label)
    _print(report, arguments.output)
    return 1 if report.failed else 0


async def _audit(
    arguments: argparse.Namespace, given: AuditInput
) -> tuple[AuditReport, list[ToLabel]]:
    async with _scoring(arguments, arguments.profile) as scoring, _other(arguments) as other:
        with progress_bar() as progress:
            task = progress.add_task(arguments.profile, total=len(given.strategies) + 2)
            return await audit(scoring, given, other, lambda: progress.advance(task))


@asynccontextmanager
async def _scoring(arguments: argparse.Namespace, name: str) -> AsyncGenerator[AuditedProfile]:
    if arguments.url is not None:
        opened = scoring_at(arguments.url, name, os.environ.get("REWARD_API_KEY"))
    else:
        opened = scoring_here(settings_from(arguments), name)
    async with opened as scoring:
        yield scoring


@asynccontextmanager
async def _other(arguments: argparse.Namespace) -> AsyncGenerator[AuditedProfile | None]:
    if arguments.against is None:
        yield None
        return
    async with _scoring(arguments, arguments.against) as scoring:
        yield scoring


def _strategies(families: str | None) -> list[Strategy]:
    names = [name.strip() for name in (families or "").split(",") if name.strip()]
    if unknown := [name for name in names if name not in FAMILIES]:
        raise ConfigError(
            f"--strategies names {unknown[0]!r}; the families are {', '.join(FAMILIES)}"
        )
    return [each for each in STRATEGIES if not names or each.family in names]


def _thresholds(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, most = part.partition("=")
        try:
            found[name] = float(most)
        except ValueError:
            found[name] = -1.0
        if name not in THRESHOLDS or not 0 <= found[name] <= 1:
            raise ConfigError(
                f"--fail_on has {part!r}; expected NAME=SHARE, a share from 0 to 1, of "
                f"{', '.join(THRESHOLDS)}"
            )
    return found


def _write(folder: Path, report: AuditReport, to_label: list[ToLabel]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    (folder / PAGE).write_text(page(report), encoding="utf-8")
    if report.agreement is not None:
        (folder / TO_LABEL).write_bytes(b"".join(map(label_line, to_label)))


def _print(report: AuditReport, folder: Path) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("strategy", "family", "mean reward", "accepted", box=None)
    for each in report.strategies[:SHOWN_STRATEGIES]:
        reward = "none" if each.mean_reward is None else f"{each.mean_reward:.3f}"
        taken = f"{each.accepted.count} of {each.accepted.of}"
        table.add_row(each.name, each.family, reward, taken)
    console.print(table)
    for said in report.combination.warnings if report.combination else []:
        console.print(f"warning: {said}", markup=False)
    for said in report.failed:
        console.print(f"FAILED {said}", markup=False)
    console.print(
        f"{report.profile} {report.fingerprint}: {len(report.strategies)} strategies on "
        f"{report.rows} of {report.rows_in_file} rows; best form: {report.form} -> {folder / PAGE}",
        markup=False,
    )
