"""The column of ground truths: asked for only where a profile reads it.

In: rows, and who reads. Out: rows that have the column, empty where nobody reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError


def with_truths(rows: Dataset, column: str, readers: Sequence[str] | None) -> Dataset:
    """The rows with a column of ground truths; an empty one where nobody reads it. `readers`: the
    profiles that do, None where that is not known.

    Raises:
        InputError: there is no such column, and a profile reads it.
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
