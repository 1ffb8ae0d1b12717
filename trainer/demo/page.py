"""What the demo says of itself: the page and the lines on the screen.

In: the lines of its evaluations, its account, its times. Out: `report.html`, and the same figures
printed.
"""

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
    "{model}, a pretrained chat model, is asked for sums of 1 to 40 and products of 2 to 20. All "
    "its weights are trained by GRPO. The rewards come from a reward server over HTTP, profile "
    "math: 1 where the answer is right, else 0. Half-way the server is killed and started again.",
    "It is measured greedily on problems of which training saw no pair, in either order. The "
    "checkpoint was chosen on problems that are in neither part.",
)
PANELS_NOTE = (
    "The held-out rows of these curves are the validation problems. The peak of the wait is the "
    "killed server. Bold: the mean of about the last tenth of the steps."
)


@dataclass(frozen=True)
class DemoRun:
    """What a demo of `model` left. `evaluations` and `transfer`: the lines of `before` and `after`;
    `validation`: the share right by update."""

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
        """Before and after, on the held-out problems."""
        return measured(self.evaluations["before"]), measured(self.evaluations["after"])


def write_demo_report(found: DemoRun) -> Path:
    """Write the page of a demo; returns its path."""
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
    """The few numbers that say how the demo went."""
    before, after = found.pair
    return [
        ("right, before to after", f"{before.right.value:.0%} → {after.right.value:.0%}"),
        ("gave a number", f"{before.number.value:.0%} → {after.number.value:.0%}"),
        ("samples lost", f"{found.account.lost} of {found.account.sampled}"),
        ("rewards made up", f"{found.account.made_up} of {found.account.sampled}"),
        ("wait of the update in between", f"{found.account.waited_s:.1f} s"),
        ("minutes", f"{found.minutes:.1f}"),
        ("processor seconds", f"{found.processor_s:.0f}"),
    ]


def held_out_table(found: DemoRun) -> Table:
    """Right and gave a number, side by side, before and after."""
    rows = [
        [name, str(each.right), str(each.number), str(each.right_of_numbers)]
        for name, each in zip(("before", "after"), found.pair, strict=True)
    ]
    note = f"{found.pair[0].right.rows} problems, shares and 95% intervals."
    heads = ("", "right", "gave a number", "right where a number was given")
    return Table("Measured on held-out problems", heads, rows, note)


def kinds_table(found: DemoRun) -> Table:
    """Every kind of problem: those that were trained on, then those that were not."""
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
        "Both numbers of far sums are 41 to 99, those of differences 1 to 40; the sums in words "
        "are held-out pairs in a sentence. Where intervals overlap nothing is claimed."
    )
    return Table("What was learnt, and what carries over", heads, rows, note)


def outage_table(account: SampleAccount) -> Table:
    """The account of the outage."""
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
    note = "The trainer's store held against the server's own log, by id, response and reward."
    return Table("The reward server was killed half-way", ("", ""), rows, note)


def validation_table(found: DemoRun) -> Table:
    """The checkpoints, and which was chosen."""
    chosen = chosen_step(found.validation)
    rows = [
        [f"update {step}", f"{value:.1%}", "chosen" if step == chosen else ""]
        for step, value in found.validation.items()
    ]
    note = "The checkpoint with the most right problems was measured above; of equals the first."
    return Table("Validation problems", ("", "right", ""), rows, note)


def times(found: DemoRun) -> str:
    """How long it took."""
    return (
        f"All of it took {found.minutes:.1f} minutes and {found.processor_s:.0f} processor seconds."
    )


def print_figures(found: DemoRun, report: Path) -> None:
    """Print the tables, the account and where the report lies."""
    console = Console()
    for table in (held_out_table(found), kinds_table(found)):
        console.print(on_screen(table))
    console.print(found.account.told())
    console.print(conclusion(*found.pair))
    console.print(f"{times(found)} Report: {report}")


def on_screen(table: Table) -> ScreenTable:
    """A table of the page for the screen."""
    shown = ScreenTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    for head in table.heads:
        shown.add_column(head, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown
