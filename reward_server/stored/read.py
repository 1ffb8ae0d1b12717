"""Samples out of files: JSONL by lines, Parquet by rows. A row that is no sample is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample

T = TypeVar("T")

KEPT = "the results of what stands before it are kept"


def open_samples(path: Path, stack: ExitStack) -> tuple[int, Iterator[Sample]]:
    """Open a file of samples: how many there are, and the samples, read as they are asked for."""
    if path.suffix == ".parquet":
        return _parquet(path)
    return count_lines(path), read_samples(stack.enter_context(path.open("rb")), path)


def _parquet(path: Path) -> tuple[int, Iterator[Sample]]:
    need_pyarrow()
    from touchstone_rewards.reward_server.stored.partitions import (
        Rejected,
        place,
        read_rows,
        whole_file,
    )

    part, total = whole_file(path)

    def samples() -> Iterator[Sample]:
        for row in read_rows(place(str(path)).store, part):
            if isinstance(row, Rejected):
                raise ConfigError(f"{path}, row {row.row}: {row.reason}; {KEPT}")
            yield row

    return total, samples()


def need_pyarrow() -> None:
    """See that Parquet and object stores can be read.

    Raises:
        ConfigError: what reads Parquet and object stores is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError("this needs pyarrow: pip install 'touchstone-rewards[server,parquet]'")


def read_samples(source: BinaryIO, path: Path) -> Iterator[Sample]:
    """The samples of a JSONL stream; blank lines are passed over.

    Raises:
        ConfigError: a line that is not a sample, named by its number.
    """
    return read_lines(source, path, msgspec.json.Decoder(Sample).decode)


def read_lines(source: Iterable[bytes], path: Path, decode: Callable[[bytes], T]) -> Iterator[T]:
    """What `decode` makes of each line of a JSONL stream that is not blank.

    Raises:
        ConfigError: a line that does not fit, named by its number.
    """
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f'{path}, line {number}: {error}; expected {{"id": "…", "response": "…", …}}; '
                f"{KEPT}"
            ) from error


def count_lines(path: Path) -> int:
    """How many lines of the file are not blank."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
