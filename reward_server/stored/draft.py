"""A file of results that gets its name only once it is complete.

Lines are appended to a draft beside it, `NAME.partial`. At the end the draft is renamed, after
compressing it if the name says so. A stopped run leaves complete lines in the draft, which a later
run can continue. Existing files are never overwritten unless requested.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError, RunFailed
from touchstone_rewards.reward_server.stored.lines import cut_torn_line, zstd

STDOUT = "-"
COPY_BYTES = 2**20


class MadeFrom(Struct):
    """The inputs of a draft: a later run continues it only if all of these are the same."""

    profile: str
    fingerprint: str
    explain: bool = False
    input: str = ""


class Draft:
    """Complete lines on their way to a file; standard output and devices get them at once.

    Close it with `finish` when it is complete; if that is never called, the draft stays for a later
    run.
    """

    def __init__(self, target: Path, path: Path | None, file: int) -> None:
        self.target, self.path = target, path
        self._file = file
        self._size = os.fstat(file).st_size if path else 0

    def append(self, lines: bytes) -> None:
        """Write these lines, all or none of them.

        Raises:
            RunFailed: they cannot be written; earlier lines are unchanged.
        """
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            if self.path is None:
                raise RunFailed(f"{self.target} cannot be written: {error.strerror}") from error
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise RunFailed(
                f"{self.path} cannot be written: {error.strerror}; the lines before it are kept"
            ) from error
        self._size += len(lines)

    def kept_lines(self) -> Iterator[bytes]:
        """Yield the lines that an earlier run left, oldest first."""
        if self.path is not None:
            with self.path.open("rb") as file:
                yield from file

    def finish(self) -> None:
        """Give the file its final name.

        Raises:
            RunFailed: it cannot be compressed or renamed; the draft stays as it is.
        """
        if self.path is None:
            return
        try:
            os.fsync(self._file)
            whole = _packed(self.path, self.target)
            whole.replace(self.target)
            _sync_folder(self.target.parent)
            if whole != self.path:
                self.path.unlink()
            _about(self.path).unlink(missing_ok=True)
        except OSError as error:
            said = f"{self.target} cannot be written: {error.strerror}; the results are {self.path}"
            raise RunFailed(said) from error

    def discard(self) -> None:
        """Delete the draft, and any earlier file under its final name."""
        if self.path is not None:
            for path in (self.target, _about(self.path), self.path):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and release its lock; another process may then write the draft."""
        with suppress(OSError):
            os.close(self._file)


def open_draft(
    target: str,
    inputs: Sequence[Path],
    made_from: MadeFrom,
    *,
    overwrite: bool = False,
    resume: bool = False,
    resumable: bool = True,
) -> Draft | None:
    """Open the draft of `target`; None if `resume` finds it complete. "-" is standard output.

    Raises:
        ConfigError: it is one of the inputs, it exists without `overwrite` or `resume`, another
            process is writing it, or the existing draft was made from other inputs.
    """
    if target == STDOUT:
        if resume:
            raise ConfigError("--resume needs an output that is a file")
        return Draft(Path("standard output"), None, os.dup(sys.stdout.fileno()))
    path = Path(os.path.realpath(target))  # follow a link, so that its target is protected too
    draft = path.with_name(f"{path.name}.partial")
    _refuse_inputs(target, [path, draft], inputs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise ConfigError(f"output {target} is a folder; give a file")
        if path.exists() and not path.is_file():
            return Draft(path, None, os.open(path, os.O_WRONLY))
        left = draft.exists() and resumable
        if path.exists() and not overwrite and not (resume and left):
            if resume:
                return None
            raise ConfigError(
                f"output {target} exists; --overwrite replaces it"
                + (", --resume continues a stopped run" if resumable else "")
            )
        if left and not (overwrite or resume):
            raise ConfigError(
                f"a stopped run left {draft}; --resume continues it, --overwrite starts anew"
            )
        return _opened(path, draft, made_from, resume and left)
    except OSError as error:
        raise ConfigError(f"output {target} cannot be written: {error.strerror}") from error


def _refuse_inputs(target: str, ours: Sequence[Path], inputs: Sequence[Path]) -> None:
    for given in inputs:
        for each in ours:
            if each.exists() and given.exists() and os.path.samefile(each, given):
                raise ConfigError(f"output {target} is the input {given} itself; give another file")


def _opened(target: Path, path: Path, made_from: MadeFrom, resume: bool) -> Draft:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process is writing {path}") from None
        if resume:
            _compare(path, made_from)
            cut_torn_line(path)
        else:
            os.ftruncate(file, 0)
            _about(path).write_bytes(msgspec.json.encode(made_from))
        return Draft(target, path, file)
    except BaseException:
        os.close(file)
        raise


def _about(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _compare(path: Path, made_from: MadeFrom) -> None:
    try:
        there = msgspec.json.decode(_about(path).read_bytes(), type=MadeFrom)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"the inputs of {path} are unknown ({error}); --overwrite starts anew"
        ) from error
    for name in MadeFrom.__struct_fields__:
        was, now = getattr(there, name), getattr(made_from, name)
        if was != now:
            raise ConfigError(
                f"{path} was made with {name} {was}, not {now}; --overwrite starts anew"
            )


def _packed(path: Path, target: Path) -> Path:
    """Return the file to rename: the draft, or a compressed copy if the target's name says so."""
    if target.suffix not in (".gz", ".zst"):
        return path
    whole = path.with_name(path.name + target.suffix)
    with path.open("rb") as source, _packing(whole, target.suffix) as packed:
        shutil.copyfileobj(source, packed, COPY_BYTES)
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    return whole


def _packing(path: Path, suffix: str) -> Any:
    return gzip.open(path, "wb") if suffix == ".gz" else zstd.open(path, "wb")


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
