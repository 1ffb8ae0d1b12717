"""The demo's report page, and the same figures for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as ScreenTable

from touchstone_rewards.trainer.demo.figures import (
    MeasuredShares,
    by_kind,
    carried_over,
    chosen_step,
    conclusion,
    measured,
)
from touchstone_rewards.trainer.demo.outage import SampleAccount
from touchstone_rewards.trainer.running.page import Table
from touchstone_rewards.trainer.running.report import write_report

TITLE = "Touchstone demo: pretrained weights, before and after GRPO"
Lines = list[dict[str, Any]]
STORY = (
    "{model}, a pretrained chat model, is asked for sums of numbers from 1 to 40 and products "
    "from 2 to 20. All its weights are trained by GRPO. Rewards come from a reward server over "
    "HTTP, profile math: 1 if the answer is right, else 0. Half-way the server is killed and "
    "restarted.",
    "It is evaluated greedily on number pairs that training never saw, in either order. The "
    "checkpoint was chosen on a third set of problems.",
)
PANELS_NOTE = (
    "The held-out rows of these curves are the validation problems. The peak in the wait is the "
    "killed server. Bold lines: running mean over about a tenth of the steps."
)


@dataclass(frozen=True)
class DemoRun:
    """The results of a demo. `evaluations` and `transfer` hold the lines of `before` and `after`,
    `validation` the share of right answers after each measured update."""

    model: str
    folder: Path
    evaluations: Mapping[str, Lines]
    transfer: Mapping[str, Lines]
    validation: Mapping[int, float]
    account: SampleAccount
    minutes: float
    processor_s: float

    @property
    def pair(self) -> tuple[MeasuredShares, MeasuredShares]:
        """Return the shares before and after, on the held-out problems."""
        return measured(self.evaluations["before"]), measured(self.evaluations["after"])


def write_demo_report(found: DemoRun) -> Path:
    """Write the page of a demo; return its path."""
    return write_report(
        found.folder / "grpo",
        title=TITLE,
        story=[*(text.format(model=found.model) for text in STORY), conclusion(*found.pair)],
        tiles=tiles(found),
        evaluations={name: found.folder / name for name in found.evaluations},
        output=found.folder,
        tables=[
            held_out_table(found),
            outage_table(found.account),
            kinds_table(found),
            validation_table(found),
        ],
        measures=[],
        panels_note=PANELS_NOTE,
    )


def tiles(found: DemoRun) -> list[tuple[str, str]]:
    """Return the main figures of the demo."""
    before, after = found.pair
    return [
        ("right, before to after", f"{before.right.value:.0%} → {after.right.value:.0%}"),
        ("gave a number", f"{before.number.value:.0%} → {after.number.value:.0%}"),
        ("samples lost", f"{found.account.lost} of {found.account.sampled}"),
        ("rewards made up", f"{found.account.made_up} of {found.account.sampled}"),
        ("wait of the update during the outage", f"{found.account.waited_s:.1f} s"),
        ("minutes", f"{found.minutes:.1f}"),
        ("processor seconds", f"{found.processor_s:.0f}"),
    ]


def held_out_table(found: DemoRun) -> Table:
    """Tabulate right answers and numbers, before and after."""
    rows = [
        [name, str(each.right), str(each.number), str(each.right_of_numbers)]
        for name, each in zip(("before", "after"), found.pair, strict=True)
    ]
    note = f"{found.pair[0].right.rows} problems, shares and 95% intervals."
    heads = ("", "right", "gave a number", "right where a number was given")
    return Table("Measured on held-out problems", heads, rows, note)


def kinds_table(found: DemoRun) -> Table:
    """Tabulate every kind of problem: first the trained kinds, then the others."""
    rows = []
    for part, lines in (("trained on", found.evaluations), ("not trained on", found.transfer)):
        before, after = by_kind(lines["before"]), by_kind(lines["after"])
        for kind, old in before.items():
            new = after[kind]
            numbers = f"{old.number.value:.0%} → {new.number.value:.0%}"
            cells = [str(old.right), str(new.right), carried_over(old, new), numbers]
            rows.append([f"{kind} ({old.right.rows})", part, *cells])
    heads = ("kind", "", "right before", "right after", "by intervals", "gave a number")
    note = (
        "Far sums have numbers from 41 to 99, differences from 1 to 40; sums in words "
        "are held-out pairs in a sentence. Overlapping intervals support no claim."
    )
    return Table("Gain by kind of problem", heads, rows, note)


def outage_table(account: SampleAccount) -> Table:
    """Tabulate the account of the outage."""
    rows = [
        ["the server was down", f"{account.down_s:.1f} s, killed before update {account.step}"],
        ["that update waited for its rewards", f"{account.waited_s:.1f} s"],
        ["responses sampled", str(account.sampled)],
        ["kept by the trainer", f"{account.kept}: {account.lost} lost"],
        ["without a reward", str(account.unrewarded)],
        ["rewards in the log of the first server", str(account.by_first)],
        ["rewards in the log of the second server", str(account.by_second)],
        ["rewards that no server gave", str(account.made_up)],
    ]
    note = "The trainer's samples compared with the server's log, by id, response and reward."
    return Table("The reward server was killed half-way", ("", ""), rows, note)


def validation_table(found: DemoRun) -> Table:
    """Tabulate the checkpoints, and mark the chosen one."""
    chosen = chosen_step(found.validation)
    rows = [
        [f"update {step}", f"{value:.1%}", "chosen" if step == chosen else ""]
        for step, value in found.validation.items()
    ]
    note = "The first checkpoint with the most right answers was chosen."
    return Table("Validation problems", ("", "right", ""), rows, note)


def times(found: DemoRun) -> str:
    """State how long the demo took."""
    return (
        f"The demo took {found.minutes:.1f} minutes and {found.processor_s:.0f} processor seconds."
    )


def print_figures(found: DemoRun, report: Path) -> None:
    """Print the tables, the account and the path of the report."""
    console = Console()
    for table in (held_out_table(found), kinds_table(found)):
        console.print(on_screen(table))
    console.print(found.account.told())
    console.print(conclusion(*found.pair))
    console.print(f"{times(found)} Report: {report}")


def on_screen(table: Table) -> ScreenTable:
    """Convert a table of the page for the screen."""
    shown = ScreenTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    for head in table.heads:
        shown.add_column(head, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown
