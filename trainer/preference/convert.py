"""`trainer convert`: convert a reward model between the plain and the value-head layout.

A value-head checkpoint or adapter becomes a plain reward-model folder; a plain folder becomes the
value-head layout that LLaMA-Factory reads. Scores do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.reward_folder import (
    ADAPTER,
    VALUE_HEAD,
    write_plain,
    write_value_head,
)


@dataclass
class ConvertArguments:
    """The model to convert, and the output folder."""

    model: str | None = field(default=None, metadata={"help": "Folder of the reward model."})
    output: str | None = field(default=None, metadata={"help": "New folder for the result."})


OPTIONS = ConvertArguments


def run(argv: Sequence[str]) -> None:
    """Convert one folder.

    Raises:
        InputError: there is no such model, or the output already exists.
    """
    arguments = parse_config(ConvertArguments, argv, "trainer convert")
    folder = Path(require(arguments.model, "model"))
    output = Path(require(arguments.output, "output"))
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER)):
        raise InputError(f"no model folder at {folder}")
    if output.exists():
        raise InputError(f"{output} exists already: choose a new folder")
    if any((folder / name).is_file() for name in (VALUE_HEAD, ADAPTER)):
        write_plain(folder, output)
        print(f"{output}: a plain reward model, for the reward server and `trainer rm`")
    else:
        write_value_head(folder, output)
        print(f"{output}: a causal model and {VALUE_HEAD}, for LLaMA-Factory")
