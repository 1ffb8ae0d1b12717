"""Test sets by name: where they lie, and which columns hold the question and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from touchstone_rewards.trainer.errors import InputError


class KnownSet(NamedTuple):
    """A hub name with its configuration and split; the columns it, or a local copy, may have."""

    dataset: str
    config: str | None
    split: str
    questions: tuple[str, ...]
    ground_truth: str


# The reward server reads the number after #### of a GSM8K answer, and the LaTeX of a MATH one.
KNOWN_SETS = {
    "gsm8k": KnownSet("openai/gsm8k", "main", "test", ("question",), "answer"),
    "math500": KnownSet("HuggingFaceH4/MATH-500", None, "test", ("problem", "question"), "answer"),
}


def known_set(name: str) -> KnownSet:
    """The set of that name.

    Raises:
        InputError: there is none.
    """
    if name not in KNOWN_SETS:
        raise InputError(f"no benchmark {name!r}; there are {', '.join(KNOWN_SETS)}")
    return KNOWN_SETS[name]


def question_column(known: KnownSet, columns: Sequence[str], wanted: str) -> str:
    """The column `wanted`, where the data has it, else the first of the set's own that it has."""
    return next((name for name in (wanted, *known.questions) if name in columns), wanted)
