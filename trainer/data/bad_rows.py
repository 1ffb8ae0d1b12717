"""Find all rows that cannot be trained on, name them by id, and leave them out if asked to.

Every row is read before anything is reported, so that one message names all faults. Rows have a
column `id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError

Reader = Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]
SHOWN = 3
ADVICE = "remove them, or skip them with --skip_bad_rows true"


class Faults:
    """The reasons why rows are bad, each with the ids of its rows, in the order of first
    appearance."""

    def __init__(self, what: str = "rows") -> None:
        self.what = what
        self.by_reason: dict[str, list[str]] = {}

    def add(self, row_id: str, reason: str) -> None:
        """Record one bad row."""
        self.by_reason.setdefault(reason, []).append(row_id)

    def settle(self, total: int, *, skip: bool) -> None:
        """Report the bad rows; `total` is the number of all rows.

        Raises:
            InputError: there are bad rows and `skip` is false, or all rows are bad.
        """
        if not self.by_reason:
            return
        bad = sum(map(len, self.by_reason.values()))
        if not skip or bad == total:
            raise InputError(
                f"{self._told(total, SHOWN)}: {ADVICE if bad < total else 'none is left'}"
            )
        print(f"skipped: {self._told(total, len(self.by_reason))}")

    def _told(self, total: int, most: int) -> str:
        found = list(self.by_reason.items())
        told = [
            f"{reason} in {len(ids)} of {total} {self.what}, first in {ids[0]!r}"
            for reason, ids in found[:most]
        ]
        more = len(found) - most
        return "; ".join(told) + (f"; and {more} more faults" if more > 0 else "")


class OneForm:
    """Checks that all rows hold texts or all hold chats; libraries look at the first row only."""

    def __init__(self) -> None:
        self.first: str | None = None

    def check(self, value: object) -> None:
        """Compare the form of this value with that of the first row.

        Raises:
            InputError: the forms differ.
        """
        form = "text" if isinstance(value, str) else "chat"
        self.first = self.first or form
        if form != self.first:
            raise InputError(f"a {form}, but the first row has a {self.first}")


def that_ask(rows: Dataset, column: str, *, skip: bool = False) -> Dataset:
    """Return the rows after checking that `column` holds a text in all of them, or a chat in all.

    Raises:
        InputError: rows are empty or of the other form, and `skip` is false; they are named.
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
    """Return the rows that `read` makes of each row, each with the `id` of its source row.

    `read` raises InputError for a bad row.

    Raises:
        InputError: there are bad rows and `skip` is false, or no row is left; the rows are named.
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
