"""Which files a dataset's name means: one, several, a pattern, packed ones, saved folders.

In: names as they were typed. Out: local paths, or the name of a hub dataset.
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
    """One name for each file or dataset that was meant; a pattern stands for the files it matches,
    in the order of their names.

    Raises:
        InputError: a pattern that matches nothing.
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
    """Whether a name can only be that of a file or a folder."""
    return suffix_of(Path(name)) in FILE_FORMATS or name.startswith((".", "/", "~"))


def suffix_of(path: Path) -> str:
    """The ending that tells the format, without that of a packer.

    Example:
        >>> suffix_of(Path("rows.jsonl.gz"))
        '.jsonl'
    """
    packed = path.suffix in PACKED
    return path.with_suffix("").suffix if packed else path.suffix


def saved_split(folder: Path, split: str) -> Dataset:
    """A split of what `save_to_disk` wrote of several.

    Raises:
        InputError: there is no such split; those that there are, are named.
    """
    splits = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    if split not in splits:
        raise InputError(f"{folder} has no split {split!r}; it has {', '.join(splits)}")
    rows = load_from_disk(str(folder / split))
    assert isinstance(rows, Dataset)
    return rows
