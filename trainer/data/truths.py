"""The ground-truth column, required only if a profile reads it."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError


def with_truths(rows: Dataset, column: str, readers: Sequence[str] | None) -> Dataset:
    """Return the rows with a ground-truth column, filled with nulls if no profile reads it.

    `readers` are the profiles that read it; None if that is not known.

    Raises:
        InputError: the column is missing, and a profile reads it.
    """
    if column in rows.column_names:
        return rows
    if readers is None or readers:
        why = f": profile {', '.join(readers)} reads it" if readers else ""
        raise InputError(
            f"no column {column!r} (ground_truth_column) in the data{why}; it has "
            f"{rows.column_names}"
        )
    return rows.add_column(column, [None] * len(rows))  # pyright: ignore[reportCallIssue]
