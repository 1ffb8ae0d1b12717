"""Rows that nothing can be learnt from: all of them found, named by id, left out where wished.

In: rows with a column `id`, and what reads one of them. Out: what was read of the good ones. Every
row is looked at before anything is said, so that one look at the message is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError

Reader = Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]
SHOWN = 3
ADVICE = "take them out, or leave them out by --skip_bad_rows true"


class Faults:
    """Why rows are bad: reason to the ids that have it, in the order in which they are met."""

    def __init__(self, what: str = "rows") -> None:
        self.what = what
        self.by_reason: dict[str, list[str]] = {}

    def add(self, row_id: str, reason: str) -> None:
        """Note one row."""
        self.by_reason.setdefault(reason, []).append(row_id)

    def settle(self, total: int, *, skip: bool) -> None:
        """Say what was found; `total` is how many rows there were.

        Raises:
            InputError: there are bad rows and they are not to be left out, or all are bad.
        """
        if not self.by_reason:
            return
        bad = sum(map(len, self.by_reason.values()))
        if not skip or bad == total:
            raise InputError(
                f"{self._told(total, SHOWN)}: {ADVICE if bad < total else 'none is left'}"
            )
        print(f"left out: {self._told(total, len(self.by_reason))}")

    def _told(self, total: int, most: int) -> str:
        found = list(self.by_reason.items())
        told = [
            f"{reason} in {len(ids)} of {total} {self.what}, first in {ids[0]!r}"
            for reason, ids in found[:most]
        ]
        more = len(found) - most
        return "; ".join(told) + (f"; and {more} faults more" if more > 0 else "")


class OneForm:
    """Are all rows texts, or all of them chats? Libraries look at the first row alone."""

    def __init__(self) -> None:
        self.first: str | None = None

    def check(self, value: object) -> None:
        """Take the form of the first row for the form of all.

        Raises:
            InputError: this one has the other.
        """
        form = "text" if isinstance(value, str) else "chat"
        self.first = self.first or form
        if form != self.first:
            raise InputError(f"a {form} where the first row has a {self.first}")


def that_ask(rows: Dataset, column: str, *, skip: bool = False) -> Dataset:
    """The rows, if `column` holds a text in all of them or a chat in all of them.

    Raises:
        InputError: some hold nothing, or the other, and `skip` is false; they are named.
    """
    faults, good, form = Faults(), [], OneForm()
    values: Any = rows[column]
    for place, value in enumerate(values):
        if value is None or (isinstance(value, str | list) and not value):
            faults.add(rows[place]["id"], f"no {column}")
            continue
        try:
            if isinstance(value, str | list):
                form.check(value)
            good.append(place)
        except InputError as error:
            faults.add(rows[place]["id"], f"{column}: {error}")
    faults.settle(len(rows), skip=skip)
    return rows.select(good) if len(good) < len(rows) else rows


def read_rows(rows: Dataset, read: Reader, *, skip: bool = False, what: str = "rows") -> Dataset:
    """The rows that `read` makes of each row, with the `id` of the row that they came from.

    `read` raises InputError for a row that is bad.

    Raises:
        InputError: there are bad rows and `skip` is false, or none is left; they are named.
    """
    faults, good = Faults(what), []
    for place, row in enumerate(rows):
        assert isinstance(row, dict)
        try:
            list(read(row))
            good.append(place)
        except InputError as error:
            faults.add(row["id"], str(error))
    faults.settle(len(rows), skip=skip)
    if len(good) < len(rows):
        rows = rows.select(good)

    def convert(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made: list[dict[str, object]] = []
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            made += [{**each, "id": row["id"]} for each in read(row)]
        return {name: [each[name] for each in made] for name in made[0]}

    columns = rows.column_names
    return rows.map(convert, batched=True, remove_columns=columns, desc=f"Reading {what}")
