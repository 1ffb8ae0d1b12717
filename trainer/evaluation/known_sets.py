"""Test sets by name: their hub datasets, and the columns with question and ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from touchstone_rewards.trainer.errors import InputError


class KnownSet(NamedTuple):
    """A hub dataset with configuration and split; the columns that it, or a local copy, may
    have."""

    dataset: str
    config: str | None
    split: str
    questions: tuple[str, ...]
    ground_truth: str


# The reward server reads the number after #### in a GSM8K answer, and the LaTeX of a MATH answer.
KNOWN_SETS = {
    "gsm8k": KnownSet("openai/gsm8k", "main", "test", ("question",), "answer"),
    "math500": KnownSet("HuggingFaceH4/MATH-500", None, "test", ("problem", "question"), "answer"),
}


def known_set(name: str) -> KnownSet:
    """Return the test set of this name.

    Raises:
        InputError: there is none.
    """
    if name not in KNOWN_SETS:
        raise InputError(f"no benchmark {name!r}; known benchmarks are {', '.join(KNOWN_SETS)}")
    return KNOWN_SETS[name]


def question_column(known: KnownSet, columns: Sequence[str], wanted: str) -> str:
    """Return `wanted` if the data has that column, else the set's first question column that it
    has."""
    return next((name for name in (wanted, *known.questions) if name in columns), wanted)
