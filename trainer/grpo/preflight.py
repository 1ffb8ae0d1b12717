"""Before the first step: does the reward tell a right answer from a wrong one?

In: some rows, and what scores. Out: a line, or a refusal that says what each answer scored and why.
The answers go the whole way of training's: mapping, client, server. No model is asked.
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
    """What is tried before training."""

    preflight: bool = field(
        default=True,
        metadata={
            "help": "Score known-right and known-wrong answers to some rows first, and do not "
            "train if they get the same reward."
        },
    )
    preflight_rows: int = field(default=4, metadata={"help": "Rows that this is tried on."})

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
    """What was found, in a line. `render` makes of a row's prompt what the model reads.

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
