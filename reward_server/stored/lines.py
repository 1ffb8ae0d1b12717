"""Read lines of plain or compressed (.gz, .zst) files, or of standard input."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDIN = "-"
TAIL_BYTES = 2**16
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
PACKED = (".gz", ".zst")


def open_lines(path: Path, stack: ExitStack) -> Iterator[bytes]:
    """Open a file, or standard input for `-`, and return an iterator over its lines.

    A byte order mark is skipped.

    Raises:
        ConfigError: it cannot be opened; while reading: it is truncated, damaged or UTF-16.
    """
    try:
        file: Any = sys.stdin.buffer if str(path) == STDIN else stack.enter_context(_open(path))
    except OSError as error:
        raise ConfigError(f"input {path} cannot be read: {error.strerror}") from error
    return _lines(file, path)


def is_countable(path: Path) -> bool:
    """Return whether lines can be counted cheaply in advance, as in a plain file."""
    return path.is_file() and path.suffix not in PACKED


def cut_torn_line(path: Path) -> None:
    """Remove an incomplete last line, left by a writer that was killed."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            whole = file.read(end - start).rfind(b"\n") + 1
            if whole:
                file.truncate(start + whole)
                return
            end = start
        file.truncate(0)


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        return zstd.open(path, "rb")
    return path.open("rb")


def _lines(file: Any, path: Path) -> Iterator[bytes]:
    try:
        first = True
        for line in file:
            if first and line.startswith(UTF16_BOMS):
                raise ConfigError(f"input {path} is UTF-16; convert it to UTF-8")
            yield line.removeprefix(UTF8_BOM) if first else line
            first = False
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise ConfigError(f"input {path} cannot be read to its end: {error}") from error
