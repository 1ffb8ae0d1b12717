"""Read the rows of a data set, or one of its columns: JSONL, JSON or Parquet.

Rows are numbered from 1. Only one line or batch is held in memory at a time; JSON is read whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import is_list, is_object

JSON_LINES = (".jsonl", ".ndjson")
# The columns in which data sets keep ground truths; a dot means a field of an object.
TRUTH_COLUMNS = (
    "ground_truth", "reward_model.ground_truth", "answer", "solution", "label", "final_answer",
    "target",
)  # fmt: skip
Row = Mapping[str, Any]


class Column(NamedTuple):
    """One column of a file: its name, the number of rows, and the values with row numbers."""

    name: str
    rows: int
    values: Iterator[tuple[int, Any]]


def read_column(path: Path, name: str | None, usual: Sequence[str]) -> Column:
    """Return the column called `name`, else the first of the `usual` names that the file has.

    A dot means a field of an object: `reward_model.ground_truth`.

    Raises:
        ConfigError: the file cannot be read, has no rows, or has no such column. Later faults of
            the file are raised while the values are read.
    """
    total, rows = open_rows(path)
    first = next(rows, None)
    if first is None:
        raise ConfigError(f"input {path} has no rows")
    found = _column(path, first, name, usual)
    values = ((at, value_of(row, found)) for at, row in enumerate(chain([first], rows), 1))
    return Column(found, total, values)


def open_rows(path: Path) -> tuple[int, Iterator[Row]]:
    """Return the number of rows in the file, and an iterator over the rows.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"input {path} is not a file; give JSONL, JSON or Parquet")
    if path.suffix in JSON_LINES:
        with path.open("rb") as file:
            total = sum(1 for line in file if line.strip())
        return total, _lines(path)
    if path.suffix == ".json":
        rows = _whole(path)
        return len(rows), iter(rows)
    if path.suffix == ".parquet":
        return _parquet(path)
    raise ConfigError(f"input {path} is neither .jsonl, .ndjson, .json nor .parquet")


def _lines(path: Path) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ConfigError(
                    f"{path}, line {number}: {error}; expected a JSON object"
                ) from error


def _whole(path: Path) -> list[Row]:
    """Return the rows of a JSON file: a list of objects, or an object that has one such list."""
    try:
        held = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}; expected a list of JSON objects") from error
    if is_object(held):
        lists = [value for value in held.values() if is_list(value)]
        held = lists[0] if len(lists) == 1 else held
    if not is_list(held) or not all(map(is_object, held)):
        raise ConfigError(
            f"{path} is neither a list of JSON objects nor an object with one such list"
        )
    return held


def _parquet(path: Path) -> tuple[int, Iterator[Row]]:
    if find_spec("pyarrow") is None:
        raise ConfigError(
            f"{path} is Parquet, which needs pyarrow: pip install '.[parquet]' in the checkout"
        )
    import pyarrow
    import pyarrow.parquet

    try:
        file: Any = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}") from error
    batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=1024))
    return file.metadata.num_rows, chain.from_iterable(batches)


def _column(path: Path, first: Row, name: str | None, usual: Sequence[str]) -> str:
    there = ", ".join(map(repr, first))
    if name is not None:
        if not _has(first, name):
            raise ConfigError(f"{path} has no column {name!r}; it has {there}")
        return name
    for each in usual:
        if _has(first, each):
            return each
    raise ConfigError(
        f"{path} has none of the columns {', '.join(usual)}; it has {there}: name one with --column"
    )


def _has(row: Row, name: str) -> bool:
    head, _, rest = name.partition(".")
    if name in row:
        return True
    inner = row.get(head)
    return bool(rest) and is_object(inner) and _has(inner, rest)


def value_of(row: Row, name: str) -> Any:
    """Return the value of a column; None if the row has none."""
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    inner = row.get(head)
    return value_of(inner, rest) if rest and is_object(inner) else None
