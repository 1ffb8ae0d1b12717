"""Resolve a dataset's name to files: one file, several, a pattern, compressed files, saved folders.

The functions return local paths, or the name of a hub dataset.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from datasets import Dataset, load_from_disk

from touchstone_rewards.trainer.errors import InputError

FILE_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
PACKED = (".gz", ".bz2", ".xz", ".zst")
PATTERN = frozenset("*?[")


def names_of(names: str | Sequence[str]) -> list[str]:
    """Return one name per file or dataset; a pattern is replaced by the files it matches, sorted by
    name.

    Raises:
        InputError: a pattern matches nothing.
    """
    found: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        if not PATTERN & set(name) or Path(name).expanduser().exists():
            found.append(name)
            continue
        matches = sorted(glob(str(Path(name).expanduser()), recursive=True))
        if not matches:
            raise InputError(f"no dataset matches {name}")
        found += matches
    return found


def looks_local(name: str) -> bool:
    """Return whether a name can only be a file or a folder, never a hub dataset."""
    return suffix_of(Path(name)) in FILE_FORMATS or name.startswith((".", "/", "~"))


def suffix_of(path: Path) -> str:
    """Return the suffix that tells the format, without that of the compression.

    Example:
        >>> suffix_of(Path("rows.jsonl.gz"))
        '.jsonl'
    """
    packed = path.suffix in PACKED
    return path.with_suffix("").suffix if packed else path.suffix


def saved_split(folder: Path, split: str) -> Dataset:
    """Return one split of a folder that `save_to_disk` wrote with several splits.

    Raises:
        InputError: there is no such split; the message lists the existing ones.
    """
    splits = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    if split not in splits:
        raise InputError(f"{folder} has no split {split!r}; it has {', '.join(splits)}")
    rows = load_from_disk(str(folder / split))
    assert isinstance(rows, Dataset)
    return rows
