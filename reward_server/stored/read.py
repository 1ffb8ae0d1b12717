"""Read samples from files: JSONL by line, Parquet by row. Errors name the invalid row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.stored.lines import is_countable, open_lines

T = TypeVar("T")

EXPECTED = 'expected {"id": "…", "response": "…", …}'
SHOWN_REASON = 300
# Errors of a line that is not JSON or does not match the schema.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BadRow(Struct, omit_defaults=True):
    """An invalid row: its line, or its number from 0 in a table, and the reason."""

    input: str
    reason: str
    line: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line is not None else f"row {self.row}"
        return f"{self.input}, {where}: {self.reason}"


def open_samples(path: Path, stack: ExitStack) -> tuple[int | None, Iterator[Sample | BadRow]]:
    """Open a file of samples, or standard input for `-`.

    Returns the number of rows, if it is known in advance, and an iterator over the rows.
    """
    if path.suffix == ".parquet":
        return _parquet(path)
    total = count_lines(path) if is_countable(path) else None
    return total, _jsonl(open_lines(path, stack), path)


def _jsonl(lines: Iterator[bytes], path: Path) -> Iterator[Sample | BadRow]:
    decode = msgspec.json.Decoder(Sample).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except UNREADABLE as error:
            reason = f"{str(error)[:SHOWN_REASON]}; {EXPECTED}"
            yield BadRow(str(path), reason, line=number)


def _parquet(path: Path) -> tuple[int, Iterator[Sample | BadRow]]:
    need_pyarrow()
    from touchstone_rewards.reward_server.stored.part_rows import Rejected, read_rows
    from touchstone_rewards.reward_server.stored.partitions import place, whole_file

    part, total = whole_file(path)

    def rows() -> Iterator[Sample | BadRow]:
        for row in read_rows(place(str(path)).store, part):
            if isinstance(row, Rejected):
                yield BadRow(str(path), row.reason, row=row.row)
            else:
                yield row

    return total, rows()


def need_pyarrow() -> None:
    """Check that Parquet and object stores can be read.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError("this needs pyarrow: pip install '.[server,parquet]' in the checkout")


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a file.

    Raises:
        ConfigError: a row is invalid; the message names it.
    """
    with ExitStack() as stack:
        for row in open_samples(path, stack)[1]:
            if isinstance(row, BadRow):
                raise ConfigError(str(row))
            yield row


def read_lines(source: Iterable[bytes], path: Path, decode: Callable[[bytes], T]) -> Iterator[T]:
    """Yield the result of `decode` for each line of a JSONL stream that is not blank.

    Raises:
        ConfigError: a line does not fit; the message names it.
    """
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except UNREADABLE as error:
            raise ConfigError(f"{path}, line {number}: {error}; {EXPECTED}") from error


def count_lines(path: Path) -> int:
    """Return the number of lines in the file that are not blank."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
