"""LoRA adapters of language models as folders: recognise an adapter, find its base, merge it.

A merged folder has the tokenizer that the adapter was trained with. Reward models are merged by
`preference/reward_folder.py`.
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
    """Return whether `name` is the folder of an adapter without a full model in it."""
    folder = Path(name).expanduser()
    return (folder / ADAPTER).is_file() and not any((folder / each).is_file() for each in WHOLE)


def base_of(adapter: str) -> str:
    """Return the base model of an adapter: as named in its config, or a folder inside its own.

    Raises:
        InputError: the config names no base, or a folder that does not exist.
    """
    folder = Path(adapter).expanduser()
    name = str(adapter_config(adapter).get("base_model_name_or_path") or "")
    inside = folder / Path(name).name
    if not name:
        raise InputError(f"{folder / ADAPTER} names no base model: give it as model_name_or_path")
    if not Path(name).is_dir() and (inside / "config.json").is_file():
        return str(inside)
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise InputError(
            f"{adapter} is an adapter of {name}, which does not exist: give the base as "
            "model_name_or_path and the adapter as adapter_name_or_path"
        )
    return name


def adapter_config(adapter: str) -> dict[str, object]:
    """Return the folder's adapter_config.json as a dict; empty for a hub name.

    Raises:
        InputError: the file is not JSON.
    """
    path = Path(adapter).expanduser() / ADAPTER
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def refuse_reward_adapter(adapter: str) -> None:
    """Refuse the adapter of a reward model where a language model is needed.

    Raises:
        InputError: it is one.
    """
    if adapter_config(adapter).get("task_type") == "SEQ_CLS":
        raise InputError(
            f"{adapter} is the adapter of a reward model, not of a language model: "
            "convert it with `trainer convert`"
        )


def tokenizer_folder(model: str, adapter: str | None) -> str:
    """Return the folder to read the tokenizer from: the adapter's if it has one, else the model's.

    The adapter's tokenizer has the chat template that it was trained with.
    """
    own = adapter and (Path(adapter).expanduser() / TOKENIZER).is_file()
    return str(adapter) if own else model


def fit_embeddings(base: Any, adapter: str) -> None:
    """Resize the base's embeddings to the adapter's, if the adapter stores its own.

    It does if tokens were added before its training.
    """
    path = Path(adapter).expanduser() / WEIGHTS
    if not path.is_file():
        return
    with safe_open(path, "pt") as tensors:
        kept = [name for name in tensors.keys() if "embed" in name and "lora_" not in name]  # noqa: SIM118
        rows = [tensors.get_slice(name).get_shape()[0] for name in kept]
    if rows and max(rows) != base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(max(rows), mean_resizing=False)


def merged_model(base: str, adapter: str, dtype: str = "auto") -> Any:
    """Load the unquantized base, and merge the adapter into it.

    Raises:
        InputError: the base is missing, or the merged weights are not finite.
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
    """Write the base with the adapter merged in as a plain model folder, completely or not at all.

    `dtype` is the data type of the weights; auto: as the base.

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
    """Yield a plain model folder: the model's own, or a temporary one with its adapter merged in.

    Some engines only read plain folders.
    """
    if not is_adapter(model):
        yield model
        return
    with TemporaryDirectory() as folder:
        merged = Path(folder) / "merged"
        merge_adapter(base_of(model), model, merged)
        yield str(merged)
