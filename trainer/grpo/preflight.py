"""Preflight: before the first step, check that the reward tells right answers from wrong ones.

Known right and wrong answers to some rows are scored in the same way as in training: same column
mapping, client and server. No model is used. The result is one line, or an error that lists the
score of each answer and the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from datasets import Dataset

from touchstone_rewards.trainer.rewards import RewardArguments, try_rewards


@dataclass
class PreflightArguments:
    """Whether to run the preflight, and on how many rows."""

    preflight: bool = field(
        default=True,
        metadata={
            "help": "First score known right and wrong answers to some rows, and do not "
            "train if they get the same reward."
        },
    )
    preflight_rows: int = field(default=4, metadata={"help": "Number of rows for the preflight."})

    def __post_init__(self) -> None:
        if self.preflight_rows < 1:
            raise ValueError("preflight_rows must be 1 or more")


def check_rewards(
    rows: Dataset,
    scoring: object,
    rewards: RewardArguments,
    arguments: PreflightArguments,
    render: Callable[[Any], str] = str,
) -> str:
    """Run the preflight and return its result as one line.

    `render` turns a row's prompt into the text that the model reads.

    Raises:
        RunFailed: no answer got a reward, or right and wrong ones got the same in every form.
    """
    if not arguments.preflight:
        return "preflight: skipped"
    column = rewards.ground_truth_column
    each: Any = rows
    known = (row for row in each if row[column] is not None)
    chosen: list[Any] = list(islice(known, arguments.preflight_rows))
    if not chosen:
        return f"preflight: skipped, no row has a {column}"
    return try_rewards(scoring, rewards, chosen, render(chosen[0]["prompt"]))
