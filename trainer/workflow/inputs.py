"""What a stage depends on beside its fields: the contents of the files and models that they name.

In: the fields of a command. Out: a hash for each path among those that name data, ground truths,
templates or a model. A hub's name has no content here: it counts as the text it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from touchstone_rewards.trainer.data.files import names_of

DATA_FIELDS = {"dataset_name", "eval_dataset_name", "dataset", "ground_truth_dataset", "scores"}
DATA_FIELDS |= {"learning_samples", "prompt_template", "chat_template", "chat_template_path"}
DATA_FIELDS |= {"serve_profiles", "serve_config"}
MODEL_FIELDS = {"model_name_or_path", "model", "base_model", "chat_template_path"}
MODEL_FIELDS |= {"adapter_name_or_path", "critic_model_name_or_path"}
# Of a model's folder. A run's report, its state and older checkpoints change nothing.
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json")
MODEL_FILES += ("generation_config.json", "tokenizer*", "special_tokens_map.json", "vocab*")
MODEL_FILES += ("added_tokens.json", "merges.txt", "*.model", "*.jinja")


def inputs_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Hash what each path among the fields holds, sections included: {"dataset_name": …}."""
    found: dict[str, str] = {}
    for key, path in _named(fields):
        if path.is_file():
            found[f"content of {key}"] = file_digest(path)
        elif path.is_dir():
            field = key.rpartition(".")[2].partition(" ")[0]
            patterns = MODEL_FILES if field in MODEL_FIELDS else ("**/*",)
            found[f"content of {key}"] = _folder_digest(path, patterns)
    return found


def file_digest(path: Path) -> str:
    """Hash a file's content; one that has not changed is read once."""
    about = path.stat()
    return _file_digest(path, about.st_size, about.st_mtime_ns)


def _named(fields: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Path]]:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _named(value, f"{section}{key}.")
        elif isinstance(value, str | list) and key in DATA_FIELDS | MODEL_FIELDS:
            given = [value] if isinstance(value, str) else value
            names = names_of([each for each in given if isinstance(each, str)])
            for place, name in enumerate(names):
                number = f" {place + 1}" if len(names) > 1 else ""
                yield f"{section}{key}{number}", Path(name).expanduser()


def _folder_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    hasher = hashlib.sha256()
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        hasher.update(f"{path.relative_to(folder)}\n{file_digest(path)}\n".encode())
    return hasher.hexdigest()


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
