"""Store generated responses batch by batch, so that an interrupted evaluation can continue.

`generated.jsonl` holds one line per batch; `settings.json` identifies the evaluation, so that
responses of different ones are never mixed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.generation import template_path

LIGHT_FILES = (
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
)
LIGHT_FILES += ("added_tokens.json", "vocab*", "merges.txt", "*.model", "*.jinja")
GENERATED, SETTINGS = "generated.jsonl", "settings.json"
WRITTEN = (GENERATED, SETTINGS, "results.jsonl", "summary.json", "eval_results.json")
Responses = dict[int, list[list[str]]]


def check_output(folder: Path, plain_file: str | None) -> None:
    """Check that an evaluation may write into `folder`, and its list into `plain_file`.

    Raises:
        InputError: such files exist, and no evaluation of this command wrote them.
    """
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise InputError(f"output {folder}: {path} is a file, but the results need a folder")
    if _is_evaluation(folder / SETTINGS):
        return
    found = [folder / name for name in WRITTEN if (folder / name).exists()]
    found += [Path(plain_file)] if plain_file and Path(plain_file).exists() else []
    if found:
        raise InputError(
            f"{found[0]} exists, but no evaluation of this command wrote it: choose "
            "another output, or move the file"
        )


def _is_evaluation(settings: Path) -> bool:
    """Return whether an evaluation wrote this file; other programs have a settings.json too."""
    try:
        content = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "prompts" in content and "model" in content


def open_generated(folder: Path, settings: dict[str, Any]) -> Responses:
    """Return the existing batches; cut off an incomplete last line.

    Raises:
        InputError: the folder holds another evaluation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, known = folder / GENERATED, folder / SETTINGS
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if known.is_file():
        refuse_others(folder, json.loads(known.read_text(encoding="utf-8")), json.loads(text))
        return _read_whole_lines(path) if path.is_file() else {}
    known.write_text(text, encoding="utf-8")
    return {}


def append_batch(folder: Path, number: int, responses: list[list[str]]) -> None:
    """Append one batch; it is on disk when this returns."""
    line = json.dumps({"batch": number, "responses": responses}) + "\n"
    with open(folder / GENERATED, "ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def identity(model: str, prompts: Sequence[object], chat_template: str | None) -> dict[str, object]:
    """Return the identity of an evaluation besides its settings: model, prompts, chat template
    content.

    Weight files are identified by size and modification time, since hashing them takes long.
    """
    files = [path for path in sorted(Path(model).glob("*.safetensors")) if path.is_file()]
    template = template_path(chat_template)
    return {
        "model": model,
        "weights": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
        "config_and_tokenizer": _content(_light_files(Path(model))),
        "prompts": hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest(),
        "content_of_chat_template": _content([template] if template else []),
    }


def _light_files(model: Path) -> list[Path]:
    """Return the files of a model, other than weights, that influence its responses."""
    found = {path for pattern in LIGHT_FILES for path in model.glob(pattern) if path.is_file()}
    return sorted(found)


def _content(paths: Sequence[Path]) -> str | None:
    hasher = hashlib.sha256()
    for path in paths:
        hasher.update(f"{path.name} {path.stat().st_size}\n".encode())
        hasher.update(path.read_bytes())
    return hasher.hexdigest() if paths else None


def refuse_others(folder: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare the settings of two evaluations.

    Raises:
        InputError: they differ; the message lists the differences.
    """
    differ = sorted(
        key for key in there.keys() | wanted.keys() if there.get(key) != wanted.get(key)
    )
    if differ:
        raise InputError(
            f"{folder} holds an evaluation with another {', '.join(differ)}: choose another "
            "output, or remove it"
        )


def _read_whole_lines(path: Path) -> Responses:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    lines = map(json.loads, content[:whole].splitlines())
    return {line["batch"]: line["responses"] for line in lines}
