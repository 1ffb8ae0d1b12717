"""LoRA and quantization with TRL's ModelConfig: check the requested settings, and build the
configs.

An adapter's folder may be given instead of a model; the model is then the adapter's base.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, TrainingArguments, set_seed
from trl.trainer.model_config import ModelConfig
from trl.trainer.utils import get_peft_config, get_quantization_config

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.merging import (
    base_of,
    fit_embeddings,
    is_adapter,
    merge_adapter,
    refuse_reward_adapter,
)

MERGED = "merged_model"


@dataclass
class AdapterArguments:
    """Continued training of a LoRA adapter; its folder may also be given as the model."""

    adapter_name_or_path: str | None = field(
        default=None,
        metadata={"help": "LoRA adapter to continue training, on top of model_name_or_path."},
    )
    create_new_adapter: bool = field(
        default=False,
        metadata={
            "help": "Merge that adapter into its base (OUTPUT_DIR/merged_model), and train a new "
            "one with the lora_* fields on the result."
        },
    )


def settle_adapter(
    model: ModelConfig, adapter: AdapterArguments, args: TrainingArguments, *, resuming: bool
) -> None:
    """Replace a model that is an adapter's folder by base and adapter; merge them for a new
    adapter.

    With `resuming`, a merged model from an earlier start is reused.

    Raises:
        InputError: the adapter or its base is missing, two adapters are given, or a new adapter is
            requested without create_new_adapter.
    """
    name = str(model.model_name_or_path)
    if is_adapter(name):
        if adapter.adapter_name_or_path:
            raise InputError(
                f"{name} is an adapter itself: give its base as model_name_or_path, or leave out "
                "adapter_name_or_path"
            )
        model.model_name_or_path, adapter.adapter_name_or_path = base_of(name), name
    path = adapter.adapter_name_or_path
    if not path:
        if adapter.create_new_adapter:
            raise InputError(
                "create_new_adapter needs an adapter to merge: set adapter_name_or_path"
            )
        return
    if not adapter.create_new_adapter and model.use_peft:
        raise InputError(
            f"{path} is an adapter to continue training: leave out use_peft, or set "
            "create_new_adapter: true to merge it and train a new one"
        )
    check_adapter(path)
    if not adapter.create_new_adapter:
        return
    merged = Path(str(args.output_dir)) / MERGED
    with args.main_process_first(local=False, desc="merging the adapter"):
        if args.process_index == 0 and not (resuming and (merged / "config.json").is_file()):
            merge_adapter(str(model.model_name_or_path), path, merged, overwrite=True)
    model.model_name_or_path, adapter.adapter_name_or_path = str(merged), None
    model.use_peft = True


def check_adapter(path: str) -> None:
    """Refuse a folder that is not an adapter of a language model.

    Raises:
        InputError: there is no adapter, or it belongs to a reward model.
    """
    if path.startswith((".", "/", "~")) and not is_adapter(path):
        raise InputError(f"no adapter at {path} (no adapter_config.json)")
    refuse_reward_adapter(path)


def quantization_of(model: ModelConfig, adapter: AdapterArguments | None = None) -> Any:
    """Return TRL's quantization config; None if quantization is off.

    Raises:
        InputError: quantization is on without LoRA, or bitsandbytes is not installed.
    """
    if not (model.load_in_4bit or model.load_in_8bit):
        return None
    if not (model.use_peft or (adapter and adapter.adapter_name_or_path)):
        raise InputError("load_in_4bit and load_in_8bit need use_peft: true (QLoRA)")
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "load_in_4bit and load_in_8bit need bitsandbytes, which is not installed here: "
            "pip install bitsandbytes (with a GPU), or train LoRA on the unquantized model"
        )
    return get_quantization_config(model)


def peft_of(model: ModelConfig) -> Any:
    """Return TRL's LoRA config; None if LoRA is off."""
    modules = model.lora_target_modules
    # TRL treats a list with one item as a pattern, which must match a module's full path.
    if isinstance(modules, str) and modules.isidentifier():
        model.lora_target_modules = [modules]
    return get_peft_config(model)


def model_for_trl(
    name: str, adapter: AdapterArguments, model: ModelConfig, args: Any
) -> dict[str, Any]:
    """Return TRL's arguments for the model: a name and perhaps a new adapter, or a model with its
    existing adapter.

    Raises:
        InputError: the adapter is missing, or the quantization cannot be used.
    """
    quantization = quantization_of(model, adapter)
    path = adapter.adapter_name_or_path
    if not path:
        return {
            "model": name,
            "quantization_config": quantization,
            "peft_config": peft_of(model),
        }
    check_adapter(path)
    from peft import PeftModel

    set_seed(args.seed)
    kwargs = {**args.model_init_kwargs, "quantization_config": quantization}
    base: Any = AutoModelForCausalLM.from_pretrained(name, **kwargs)
    fit_embeddings(base, path)
    # TRL would only warn that these are ignored for a loaded model.
    args.model_init_kwargs = None
    return {"model": PeftModel.from_pretrained(base, path, is_trainable=True)}
