"""The rows of a partition, as samples or as `Rejected`, in order.

They are read lazily from the file system of a partition of JSONL or Parquet.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec
import pyarrow.parquet as parquet
from msgspec import Struct
from pyarrow import RecordBatch
from pyarrow.fs import FileSystem

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.stored.partitions import PARQUET, Partition
from touchstone_rewards.reward_server.stored.runs import whole_runs

# A read from an object store takes tens of milliseconds whatever its size.
READ_BYTES = 8 * 2**20
BATCH_ROWS = 1024
SHOWN_REASON = 300


class Rejected(Struct, frozen=True, omit_defaults=True):
    """An invalid row: its first byte or its number from 0, and the reason."""

    file: str
    reason: str
    byte: int | None = None
    row: int | None = None


PartRow = Sample | Rejected


def read_rows(
    store: FileSystem, part: Partition, row_bytes: int = READ_BYTES, *, whole_groups: bool = False
) -> Iterator[PartRow]:
    """Return the rows of a partition in order, without blank lines. A line of more than `row_bytes`
    is rejected and never held in memory as a whole. `whole_groups`: assign rows so that no run of
    one group is split, see `runs.py`."""
    with store.open_input_file(part.path) as source:
        if part.path.endswith(PARQUET):
            rows = _parquet_rows(source, part, onwards=whole_groups)
            yield from _in_part(rows, part, whole_groups)
        else:
            raw: Any = source  # a file object that is not typed as one
            with io.BufferedReader(raw, READ_BYTES) as lines:
                rows = _jsonl_rows(lines, part, row_bytes, onwards=whole_groups)
                yield from _in_part(rows, part, whole_groups)


def _in_part(
    rows: Iterator[tuple[bool, PartRow]], part: Partition, whole_groups: bool
) -> Iterator[PartRow]:
    if whole_groups:
        return whole_runs(rows, first_part=part.begin == 0)
    return (row for _, row in rows)


def _jsonl_rows(
    source: BinaryIO, part: Partition, row_bytes: int, *, onwards: bool
) -> Iterator[tuple[bool, PartRow]]:
    """Yield each row with whether it is past the end of the part; read past it if `onwards`."""
    decode = msgspec.json.Decoder(Sample).decode
    for at, line in lines_of(source, part.begin, sys.maxsize if onwards else part.end, row_bytes):
        behind = at >= part.end
        if line is None:
            why = f"the line has more than {row_bytes} bytes"
            yield behind, Rejected(part.path, why, byte=at)
        elif not line.isspace():
            try:
                yield behind, decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield behind, Rejected(part.path, _shortly(error), byte=at)


def lines_of(
    source: BinaryIO, begin: int, end: int, most: int
) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines that start from byte `begin` to before `end`, each with its first byte.

    The last line is read to its end, even beyond `end`. A line of more than `most` bytes is None.
    """
    at = begin
    if begin:
        source.seek(begin - 1)
        at += _skip_line(source, end - begin + 1) - 1
    while at < end and (line := source.readline(most + 1)):
        start, whole = at, len(line) <= most or line.endswith(b"\n")
        at += len(line)
        if not whole:
            at += _skip_line(source)
        yield start, line if whole else None


def _skip_line(source: BinaryIO, most: float = float("inf")) -> int:
    """Return the number of bytes skipped, to the end of the line or to a little over `most`."""
    passed = 0
    while passed < most and (piece := source.readline(READ_BYTES)):
        passed += len(piece)
        if piece.endswith(b"\n"):
            break
    return passed


def _parquet_rows(source: Any, part: Partition, *, onwards: bool) -> Iterator[tuple[bool, PartRow]]:
    opened: Any = parquet.ParquetFile(source, buffer_size=READ_BYTES, pre_buffer=False)
    with opened as file:
        about = file.metadata
        sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        first, end = sum(sizes[: part.begin]), sum(sizes[: part.end])
        groups = range(part.begin, len(sizes) if onwards else part.end)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups):
            for number, row in enumerate(_columns_to_rows(batch), first):
                try:
                    if isinstance(row, UnicodeDecodeError):
                        raise row
                    yield number >= end, msgspec.convert(row, Sample)
                except (msgspec.ValidationError, UnicodeDecodeError) as error:
                    yield number >= end, Rejected(part.path, _shortly(error), row=number)
            first += batch.num_rows


def _columns_to_rows(batch: RecordBatch) -> list[dict[str, Any] | UnicodeDecodeError]:
    """Return the rows without nulls: a null column means that the row lacks the field."""
    try:
        rows = batch.to_pylist(maps_as_pydicts="lossy")
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [error]
        return [_columns_to_rows(batch.slice(i, 1))[0] for i in range(batch.num_rows)]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _shortly(error: Exception) -> str:
    return str(error)[:SHOWN_REASON]
