"""Split stored samples into partitions, and write their result files atomically.

It handles JSONL and Parquet, by path or URI, wherever pyarrow or fsspec can read. `part_rows.py`
reads the rows of a partition. This module scores nothing and knows nothing of Ray.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import msgspec
import pyarrow.parquet as parquet
from msgspec import Struct
from pyarrow import ArrowException, ArrowInvalid
from pyarrow.fs import (
    FileInfo,
    FileSelector,
    FileSystem,
    FileType,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
)

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.stored.path_pattern import fits

JSONL, PARQUET = (".jsonl", ".ndjson"), (".parquet",)
PACKED = (".gz", ".bz2", ".zst", ".lz4")
FOOTERS_AT_ONCE = 16
MANIFEST = "manifest.json"


class Location(NamedTuple):
    """A path and its file system."""

    store: FileSystem
    path: str


class Partition(Struct, frozen=True):
    """A part of a file: bytes of JSONL, or row groups of Parquet, from `begin` to before `end`."""

    name: str
    path: str
    begin: int
    end: int


class Manifest(Struct, frozen=True):
    """The inputs of a folder of results. `inputs`: the files with their sizes in bytes."""

    profile: str
    fingerprint: str
    explain: bool
    partition_bytes: int
    inputs: list[tuple[str, int]]


def place(where: str) -> Location:
    """Return the file system of a path or URI, and the path in it.

    Raises:
        ConfigError: such a URI is not supported, or its store cannot be reached.
    """
    if "://" not in where:
        return Location(LocalFileSystem(), str(Path(where).absolute()))
    try:
        return Location(*FileSystem.from_uri(where))
    except ArrowInvalid:
        return _by_fsspec(where)
    except OSError as error:
        raise ConfigError(f"{where} cannot be reached: {error}") from error


def _by_fsspec(where: str) -> Location:
    try:
        from fsspec.core import url_to_fs

        store, path = url_to_fs(where)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"neither pyarrow nor fsspec reads {where}: {error}") from error
    handler: Any = FSSpecHandler
    return Location(PyFileSystem(handler(store)), path)


def input_files(where: str) -> tuple[FileSystem, list[tuple[str, int]]]:
    """Return the files of a path, folder or pattern, sorted by name, with their sizes. In a pattern
    `*` matches part of a name and `**/` any folders.

    Raises:
        ConfigError: there are none, or one cannot be read in parts.
    """
    store, path = place(where)
    found = _matching(store, path) if "*" in path else [store.get_file_info(path)]
    if found and found[0].type == FileType.Directory:
        found = [each for each in _listed(store, path) if not _hidden(each.path, path)]
        unknown = [each.path for each in found if not each.path.endswith(JSONL + PARQUET)]
        if unknown:
            raise ConfigError(f"{unknown[0]} is neither .jsonl nor .parquet; give a pattern")
    files = sorted((each.path, each.size) for each in found if each.type == FileType.File)
    if not files:
        raise ConfigError(f"input {where}: no such file, nor a folder or pattern with files")
    for packed in (name for name, _ in files if name.endswith(PACKED)):
        raise ConfigError(f"{packed} is compressed and cannot be read in parts; decompress it")
    return store, files


def _listed(store: FileSystem, folder: str) -> list[FileInfo]:
    selector = FileSelector(folder, recursive=True, allow_not_found=True)
    return [each for each in store.get_file_info(selector) if each.type == FileType.File]


def _matching(store: FileSystem, pattern: str) -> list[FileInfo]:
    folder = pattern[: pattern.index("*")].rpartition("/")[0]
    return [each for each in _listed(store, folder) if fits(each.path, pattern)]


def _hidden(path: str, folder: str) -> bool:
    """Return whether the path is hidden: `_SUCCESS`, `.part.crc` and other tools' files."""
    parts = PurePosixPath(path).relative_to(folder).parts
    return any(part.startswith(("_", ".")) for part in parts)


def cut(store: FileSystem, files: Sequence[tuple[str, int]], size: int) -> list[Partition]:
    """Return partitions of about `size` bytes, split between lines or row groups.

    Raises:
        ConfigError: a Parquet file cannot be read, or its columns do not match a sample's.
    """

    def ranges_of(file: tuple[str, int]) -> list[tuple[int, int]]:
        return _ranges(store, *file, size)

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        ranges = pool.map(ranges_of, files)
        cuts = [
            (path, begin, end)
            for (path, _), spans in zip(files, ranges, strict=True)
            for begin, end in spans
        ]
    return [
        Partition(f"part-{number:06}", path, begin, end)
        for number, (path, begin, end) in enumerate(cuts)
    ]


def _ranges(store: FileSystem, path: str, length: int, size: int) -> list[tuple[int, int]]:
    if not path.endswith(PARQUET):
        return [(begin, min(begin + size, length)) for begin in range(0, length, size)]
    about = _footer(store, path)
    groups = range(about.num_row_groups)
    return _gathered([about.row_group(i).total_byte_size for i in groups], size)


def _footer(store: FileSystem, path: str) -> parquet.FileMetaData:
    try:
        with store.open_input_file(path) as source, parquet.ParquetFile(source) as file:
            names, about = file.schema_arrow.names, file.metadata
    except (ArrowException, OSError) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}") from error
    _check_columns(path, names)
    return about


def _gathered(sizes: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Return ranges of neighbours whose sizes sum to at most `size`."""
    spans: list[tuple[int, int]] = []
    held = 0
    for at, each in enumerate(sizes):
        if spans and held + each <= size:
            spans[-1] = (spans[-1][0], at + 1)
            held += each
        else:
            spans.append((at, at + 1))
            held = each
    return spans


def _check_columns(path: str, names: Sequence[str]) -> None:
    fields = Sample.__struct_fields__
    if missing := {"id", "response"}.difference(names):
        raise ConfigError(f"{path} has no column {sorted(missing)[0]!r}; it has {', '.join(names)}")
    if unknown := sorted(set(names).difference(fields)):
        known = ", ".join(fields)
        raise ConfigError(f"{path}: column {unknown[0]!r} is not a field of a sample: {known}")


def whole_file(path: Path) -> tuple[Partition, int]:
    """Return a local Parquet file as one partition, and its number of rows.

    Raises:
        ConfigError: it cannot be read, or its columns do not match a sample's.
    """
    about = _footer(LocalFileSystem(), str(path))
    return Partition(path.name, str(path), 0, about.num_row_groups), about.num_rows


@contextmanager
def part_files(output: Location, name: str) -> Generator[tuple[BinaryIO, BinaryIO]]:
    """Yield the files for a partition's results and for its rejected rows. They get their names
    when both are complete, the results last; of two writers of one part, one wins with both files.
    """
    store, folder = output
    finals = [f"{folder}/{name}.rejected.jsonl", f"{folder}/{name}.jsonl"]
    token = uuid4().hex
    drafts = [f"{final}.{token}.tmp" for final in finals]
    try:
        with ExitStack() as stack:
            outputs: list[Any] = [
                stack.enter_context(store.open_output_stream(draft)) for draft in drafts
            ]
            rejected, results = outputs
            yield results, rejected
            none_rejected = rejected.tell() == 0
        if none_rejected:
            store.delete_file(drafts.pop(0))
            finals.pop(0)
        for draft, final in zip(drafts, finals, strict=True):
            store.move(draft, final)
    except BaseException:
        _delete(store, drafts)
        raise


def _delete(store: FileSystem, paths: Iterable[str]) -> None:
    for info in store.get_file_info(list(paths)):
        if info.type == FileType.File:
            store.delete_file(info.path)


def open_output(output: Location, manifest: Manifest) -> set[str]:
    """Create the folder, or continue in it; return the names of the complete parts.

    Raises:
        ConfigError: the folder was made from something else.
    """
    store, folder = output
    store.create_dir(folder, recursive=True)
    names = {each.path.rpartition("/")[2]: each.path for each in _listed(store, folder)}
    if MANIFEST in names:
        _compare(folder, _read_manifest(store, names[MANIFEST]), manifest)
    elif any(not name.endswith(".tmp") for name in names):
        raise ConfigError(f"output {folder} has files but no {MANIFEST}; give an empty folder")
    else:
        draft = f"{folder}/{MANIFEST}.tmp"
        with store.open_output_stream(draft) as target:
            target.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        store.move(draft, f"{folder}/{MANIFEST}")
    return whole_parts(output)


def whole_parts(output: Location) -> set[str]:
    """Return the names of the complete parts. Delete drafts left by killed writers: no writer may
    be running."""
    paths = [each.path for each in _listed(*output)]
    _delete(output.store, (path for path in paths if path.endswith(".tmp")))
    parts = (re.search(r"/(part-\d+)\.jsonl$", path) for path in paths)
    return {part[1] for part in parts if part}


def _read_manifest(store: FileSystem, path: str) -> Manifest:
    with store.open_input_stream(path) as source:
        content = source.read()
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not a manifest of results: {error}") from error


def _compare(folder: str, there: Manifest, now: Manifest) -> None:
    for name in Manifest.__struct_fields__:
        was, came = getattr(there, name), getattr(now, name)
        if was == came:
            continue
        if name == "inputs":
            changed = sorted({path for path, _ in set(was) ^ set(came)})
            said = f"other inputs ({len(changed)} differ, for example {changed[0]})"
        else:
            said = f"{name} {was}, not {came}"
        raise ConfigError(f"output {folder} was made with {said}; give another folder")
