"""`trainer compare RUN...`: compare runs or evaluations side by side, as one page and a table.

It reads folders of training commands or of `trainer eval`. Held-out rows that occur in two of them
are compared row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as ScreenTable

from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.data.kept_samples import HELD_OUT, read_samples, step_files
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.figures import full_reward_share
from touchstone_rewards.trainer.evaluation.write import RESULTS, read_results
from touchstone_rewards.trainer.running.intervals import Interval, rate
from touchstone_rewards.trainer.running.page import Table, panels_of, readable, render_page
from touchstone_rewards.trainer.running.paired import difference
from touchstone_rewards.trainer.running.plots import (
    DARK,
    LIGHT,
    History,
    compared_drawings,
    series,
    smoothed,
    style_of,
)
from touchstone_rewards.trainer.running.report import last_step, read_history, read_run_file

# Fields that differ between any two runs without meaning.
OWN = {"output_dir", "output", "run_name", "logging_dir", "resume_from_checkpoint"}
HEADS = ("run", "updates", "reward", "held-out right", "minus the first")


@dataclass
class CompareArguments:
    """The runs to compare, and the path of the page."""

    runs: list[str] | None = field(
        default=None,
        metadata={"help": "Folders of runs or evaluations; --runs itself may be omitted."},
    )
    output: str = field(default="compare.html", metadata={"help": "Path of the page to write."})
    overwrite: bool = field(default=False, metadata={"help": "Overwrite an existing page."})


OPTIONS = CompareArguments


class Compared(NamedTuple):
    """The data of one run: its curves, its fields, and its held-out rows, right or wrong."""

    history: History
    fields: dict[str, Any]
    rows: dict[str, float]


def run(argv: Sequence[str]) -> None:
    """Read the folders, write the page, and print the table.

    Raises:
        InputError: there are fewer than two runs, a folder holds none, or the page exists.
    """
    words = list(argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--runs")
    arguments = parse_config(CompareArguments, words, "trainer compare")
    folders = [Path(each) for each in arguments.runs or ()]
    if len(folders) < 2:
        raise InputError("give two or more folders of runs: trainer compare runs/a runs/b")
    output = Path(arguments.output)
    if output.exists() and not arguments.overwrite:
        raise InputError(f"{output} exists: set --output another.html, or --overwrite true")
    runs = dict(zip(names_of(folders), map(read_one, folders), strict=True))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(as_page(runs), encoding="utf-8")
    Console().print(as_table(runs))
    print(f"page: {output}")


def read_one(folder: Path) -> Compared:
    """Read the data of the run in a folder.

    Raises:
        InputError: it is neither a training run nor an evaluation.
    """
    history, about = read_history(folder), read_run_file(folder)
    evaluated = (folder / RESULTS).is_file()
    if not history and not evaluated:
        raise InputError(
            f"{folder} is not a run: it has neither trainer_state.json (training) nor {RESULTS} "
            "(trainer eval)"
        )
    fields = {**(about.get("defaults") or {}), **(about.get("fields") or {})}
    rows = full_reward_share(read_results(folder)) if evaluated else last_held_out(folder)
    return Compared(history, fields, rows)


def last_held_out(folder: Path) -> dict[str, float]:
    """Return 1 or 0 for each row of a run's last evaluation; empty if there was none."""
    files = step_files(folder / "samples" / HELD_OUT)
    if not files:
        return {}
    return full_reward_share(map(vars, read_samples(files[-1][1])))


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return the shortest endings of the paths that are different from each other.

    Raises:
        InputError: a folder is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise InputError("one folder was given twice")
    depth = next(n for n in range(1, 100) if len({each[-n:] for each in parts}) == len(parts))
    return ["/".join(each[-depth:]) for each in parts]


def as_page(runs: Mapping[str, Compared]) -> str:
    """Return the page: a table, curves with one line per run, and the settings that differ."""
    drawings, zero = compared_drawings({name: each.history for name, each in runs.items()})
    tables = [
        Table("Side by side", HEADS, rows_of(runs), explained(runs)),
        Table("Settings that differ", ("field", *runs), differing(runs)),
    ]
    return render_page(
        title=f"{len(runs)} runs side by side",
        subtitle=", ".join(runs),
        tables=[table for table in tables if table.rows],
        panels=panels_of(drawings, legend=False),
        zero=zero,
        legend=[
            (name, style_of(number, LIGHT)[0], style_of(number, DARK)[0])
            for number, name in enumerate(runs)
        ],
    )


def as_table(runs: Mapping[str, Compared]) -> ScreenTable:
    """Return the same rows for the screen; long names wrap, so that the table fits 80 columns."""
    table = ScreenTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=explained(runs))
    table.caption_justify, table.show_edge = "left", False
    for head in HEADS:
        table.add_column(head, overflow="fold", no_wrap=head != HEADS[0])
    for row in rows_of(runs):
        table.add_row(*row)
    return table


def rows_of(runs: Mapping[str, Compared]) -> list[list[str]]:
    """Return one row per run: updates, reward or loss, held-out rows, difference from the first
    run."""
    first = next(iter(runs.values()))
    rows = []
    for name, each in runs.items():
        against = difference([each.rows], [first.rows]) if each is not first else None
        updates = last_step(each.history)
        cells = [str(updates) if updates else "-", first_to_last(each.history)]
        right = list(each.rows.values())
        share = rate(right, len(right))
        cells.append(in_percent(fmean(right), share) if right else "-")
        against = against if against and against.rows else None
        cells.append(in_percent(against.mean, against.interval, "+") if against else "-")
        rows.append([name, *cells])
    return rows


def first_to_last(history: History) -> str:
    """Return the first value and the smoothed last value of reward or loss, as text."""
    key = "reward" if series(history, "reward") else "loss"
    values = [value for _, value in series(history, key)]
    if not values:
        return "-"
    name = "" if key == "reward" else f"{key} "
    return f"{name}{values[0]:.2f} → {smoothed(values)[-1]:.2f}"


def in_percent(value: float, interval: Interval | None, sign: str = "") -> str:
    """Format a share (with `sign` "+", a difference of shares) in percent with its interval."""
    text = f"{100 * value:{sign}.1f}"
    if interval is not None:
        text += f" [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"
    return text


def explained(runs: Mapping[str, Compared]) -> str:
    """Explain the columns, if they hold any figures."""
    if not any(each.rows for each in runs.values()):
        return "No run has measured held-out rows."
    return (
        "Percent of held-out rows right at the last evaluation, with 95% intervals over rows; the "
        "difference is paired by common rows. One run each: other seeds may differ more."
    )


def differing(runs: Mapping[str, Compared]) -> list[list[str]]:
    """Return one row for each field that is not the same in all runs."""
    names = dict.fromkeys(name for each in runs.values() for name in each.fields if name not in OWN)
    rows = []
    for name in names:
        values = [readable(each.fields.get(name)) for each in runs.values()]
        if len(set(values)) > 1:
            rows.append([name, *values])
    return rows
