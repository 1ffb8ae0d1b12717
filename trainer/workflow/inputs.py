"""Hash the inputs of a stage besides its fields: contents of the files and models that they name.

Field names may be ours or those of other projects. A hub name has no local content and counts as
text.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from touchstone_rewards.trainer.aliases import NAMES

DATA_FIELDS = {"dataset_name", "eval_dataset_name", "dataset", "ground_truth_dataset", "scores"}
DATA_FIELDS |= {"learning_samples", "prompt_template", "chat_template", "chat_template_path"}
DATA_FIELDS |= {"samples", "serve_profiles", "serve_config"}
MODEL_FIELDS = {"model_name_or_path", "model", "base_model", "chat_template_path"}
MODEL_FIELDS |= {"adapter_name_or_path", "critic_model_name_or_path"}
# Fields for outputs, or for a state to resume: never inputs.
WRITTEN = {"output", "output_dir", "output_file", "save_samples_path", "logging_dir"}
WRITTEN |= {"resume_from_checkpoint", "hub_model_id", "run_name"}
# Relevant files of a model's folder. A run's report, state and older checkpoints do not matter.
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json")
MODEL_FILES += ("generation_config.json", "tokenizer*", "special_tokens_map.json", "vocab*")
MODEL_FILES += ("added_tokens.json", "merges.txt", "*.model", "*.jinja")


def inputs_of(fields: Mapping[str, object]) -> dict[str, str]:
    """Return a hash of each path's content among the fields, including sections and lists.

    A field that is not known to name data or a model counts if its value is a file, or a folder
    with a model in it.

    >>> inputs_of({"dataset_name": "rows.jsonl"})  # if that file exists
    {"content of dataset_name": "9f2c…"}
    """
    found: dict[str, list[str]] = {}
    for key, value in _texts(fields):
        name = key.rpartition(".")[2]
        meant = {name, *NAMES.get(name, ())}
        if meant & WRITTEN:
            continue
        if digest := _digest_of(value, meant):
            found.setdefault(f"content of {key}", []).append(digest)
    found |= {f"content of {key}": digests for key, digests in _registered(fields)}
    return {key: _hash(digests) for key, digests in found.items()}


def file_digest(path: Path) -> str:
    """Return the hash of a file's content; an unchanged file is read only once."""
    about = path.stat()
    return _file_digest(path, about.st_size, about.st_mtime_ns)


def _registered(fields: Mapping[str, object], section: str = "") -> Iterator[tuple[str, list[str]]]:
    """Hash a dataset registry (`dataset_info.json` in `dataset_dir`) and the files of the named
    datasets."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _registered(value, f"{section}{key}.")
    folder = Path(str(fields.get("dataset_dir") or "")).expanduser()
    registry = folder / "dataset_info.json"
    if not fields.get("dataset_dir") or not registry.is_file():
        return
    texts = [text for key in DATA_FIELDS for _, text in _texts(fields.get(key))]
    named = {name.strip() for text in texts for name in text.split(",")}
    entries = json.loads(registry.read_text(encoding="utf-8"))
    files = [folder / str(entries[name].get("file_name")) for name in named & entries.keys()]
    digests = [file_digest(path) for path in sorted(files) if path.is_file()]
    yield f"{section}dataset_dir", [file_digest(registry), *digests]


def _texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a field, with the names of its sections."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, key)
    elif isinstance(value, str) and value:
        yield key, value


def _digest_of(value: str, meant: set[str]) -> str | None:
    """Return the hash of the file or folder that a value names; None if it names none."""
    path = Path(value).expanduser()
    is_data, is_model = bool(meant & DATA_FIELDS), bool(meant & MODEL_FIELDS)
    try:
        if path.is_file():
            return file_digest(path) if is_data or is_model or _looks_like_path(value) else None
        if path.is_dir():
            return _folder_digest(path, ("**/*",) if is_data and not is_model else MODEL_FILES)
        if is_data and glob.has_magic(value):
            return _hash([file_digest(Path(each)) for each in sorted(glob.glob(str(path)))])
    except OSError:  # a long text is not a file name
        return None
    return None


def _looks_like_path(value: str) -> bool:
    return "/" in value or bool(Path(value).suffix)


def _folder_digest(folder: Path, patterns: tuple[str, ...]) -> str | None:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    if not paths and patterns == MODEL_FILES:
        return None
    lines = [f"{path.relative_to(folder)} {file_digest(path)}" for path in sorted(paths)]
    return _hash(lines)


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
