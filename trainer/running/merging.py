"""LoRA adapters of language models as folders: tell one, find its base, merge it.

In: an adapter's folder. Out: its base's name, or a plain model folder with the tokenizer that the
adapter was trained with. Nothing is trained here; reward models have a `convert` of their own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from touchstone_rewards.trainer.errors import InputError

ADAPTER = "adapter_config.json"
WHOLE = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
TOKENIZER, WEIGHTS = "tokenizer_config.json", "adapter_model.safetensors"


def is_adapter(name: str) -> bool:
    """Whether this is the folder of an adapter, without a whole model in it."""
    folder = Path(name).expanduser()
    return (folder / ADAPTER).is_file() and not any((folder / each).is_file() for each in WHOLE)


def base_of(adapter: str) -> str:
    """The model that an adapter was trained on: where its config says, or inside its own folder.

    Raises:
        InputError: it says nothing, or names a folder that is not there.
    """
    folder = Path(adapter).expanduser()
    name = str(adapter_config(adapter).get("base_model_name_or_path") or "")
    inside = folder / Path(name).name
    if not name:
        raise InputError(f"{folder / ADAPTER} names no base model: give it by model_name_or_path")
    if not Path(name).is_dir() and (inside / "config.json").is_file():
        return str(inside)
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise InputError(
            f"{adapter} is an adapter of {name}, which is not there: give the base as "
            "model_name_or_path and the adapter as adapter_name_or_path"
        )
    return name


def adapter_config(adapter: str) -> dict[str, object]:
    """What the folder's adapter_config.json says; nothing for a hub's name.

    Raises:
        InputError: it is not JSON.
    """
    path = Path(adapter).expanduser() / ADAPTER
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def refuse_reward_adapter(adapter: str) -> None:
    """Refuse the adapter of a reward model where one of a language model is meant.

    Raises:
        InputError: it is one.
    """
    if adapter_config(adapter).get("task_type") == "SEQ_CLS":
        raise InputError(
            f"{adapter} is the adapter of a reward model, not of a language model: "
            "`trainer convert` makes it plain"
        )


def tokenizer_folder(model: str, adapter: str | None) -> str:
    """Where the tokenizer is read: the adapter's folder if it has one, with the chat template that
    it was trained with; else the model's."""
    own = adapter and (Path(adapter).expanduser() / TOKENIZER).is_file()
    return str(adapter) if own else model


def fit_embeddings(base: Any, adapter: str) -> None:
    """Give the base as many embeddings as the adapter was trained with, where it keeps its own:
    tokens were added before its training, then."""
    path = Path(adapter).expanduser() / WEIGHTS
    if not path.is_file():
        return
    with safe_open(path, "pt") as tensors:
        kept = [name for name in tensors.keys() if "embed" in name and "lora_" not in name]  # noqa: SIM118
        rows = [tensors.get_slice(name).get_shape()[0] for name in kept]
    if rows and max(rows) != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(max(rows), mean_resizing=False)


def merged_model(base: str, adapter: str, dtype: str = "auto") -> Any:
    """The base, read anew and not quantized, with the adapter merged in.

    Raises:
        InputError: there is no such base, or the merged weights are not finite.
    """
    from peft import PeftModel

    refuse_reward_adapter(adapter)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        fit_embeddings(model, adapter)
        peft: Any = PeftModel.from_pretrained(model, adapter)
        return peft.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot merge {adapter} into {base}: {reason}") from error


def merge_adapter(
    base: str, adapter: str, output: Path, *, dtype: str = "auto", overwrite: bool = False
) -> None:
    """Write the base with the adapter merged in as a plain model folder, whole or not at all.

    `dtype`: of the weights; auto is the base's own.

    Raises:
        InputError: the output exists, or the two cannot be merged.
    """
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists already: choose a new folder")
    merged = merged_model(base, adapter, dtype)
    part = output.with_name(f"{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    merged.save_pretrained(part)
    AutoTokenizer.from_pretrained(tokenizer_folder(base, adapter)).save_pretrained(part)
    shutil.rmtree(output, ignore_errors=True)
    part.rename(output)


@contextmanager
def plain_folder(model: str) -> Iterator[str]:
    """The model's folder, or one for the time being with its adapter merged in, for engines that
    read plain folders only."""
    if not is_adapter(model):
        yield model
        return
    with TemporaryDirectory() as folder:
        merged = Path(folder) / "merged"
        merge_adapter(base_of(model), model, merged)
        yield str(merged)
