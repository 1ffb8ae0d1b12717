"""`trainer data show FILE`: print one row of a data file.

Any file that `trainer` reads as rows can be given; chats are printed turn by turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.errors import InputError


@dataclass
class ShowArguments:
    """The file and the row to print; `trainer data show FILE` is short for `--input FILE`."""

    input: str | None = field(
        default=None, metadata={"help": "A .jsonl, .json, .parquet or .csv file."}
    )
    row: int = field(default=0, metadata={"help": "Row number, from 0; -1 is the last row."})


OPTIONS = ShowArguments


def run(argv: Sequence[str]) -> None:
    """Print the row.

    Raises:
        InputError: the file does not exist or has no such row.
    """
    words = list(argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--input")
    arguments = parse_config(ShowArguments, words, "trainer data show")
    path = require(arguments.input, "input")
    rows = load_rows(path)
    if not -len(rows) <= arguments.row < len(rows):
        raise InputError(f"{path} has rows 0 to {len(rows) - 1}, no row {arguments.row}")
    number = arguments.row % len(rows)
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{path}: row {number} of {len(rows)}", style="bold"))
    for name, value in rows[number].items():
        console.print(Text(name, style="bold cyan"))
        console.print(Text(readable(value)))


def readable(value: object) -> str:
    """Format a value for reading: a chat turn by turn, other structures as JSON, all indented."""
    if isinstance(value, list) and value and all(is_message(turn) for turn in value):
        text = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in value)
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return "\n".join(f"  {line}" for line in text.splitlines() or [""])


def is_message(turn: object) -> bool:
    """Return whether a value is one turn of a chat."""
    return isinstance(turn, dict) and set(turn) == {"role", "content"}
