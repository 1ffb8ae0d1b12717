"""LoRA and quantization around TRL's ModelConfig: what is asked for, whether it can be had.

In: a parsed ModelConfig. Out: the config objects and models that TRL's trainers take.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, set_seed
from trl.trainer.model_config import ModelConfig
from trl.trainer.utils import get_peft_config, get_quantization_config

from touchstone_rewards.trainer.errors import InputError


@dataclass
class AdapterArguments:
    """Going on from a LoRA adapter."""

    adapter_name_or_path: str | None = field(
        default=None,
        metadata={"help": "A LoRA adapter to go on training, on top of model_name_or_path."},
    )


def quantization_of(model: ModelConfig, adapter: AdapterArguments | None = None) -> Any:
    """TRL's quantization config, None where none is asked for.

    Raises:
        InputError: it is asked for without LoRA, or bitsandbytes is not installed.
    """
    if not (model.load_in_4bit or model.load_in_8bit):
        return None
    if not (model.use_peft or (adapter and adapter.adapter_name_or_path)):
        raise InputError("load_in_4bit and load_in_8bit need use_peft: true (QLoRA)")
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "load_in_4bit and load_in_8bit need bitsandbytes, which is not installed here: "
            "pip install bitsandbytes (with a GPU), or train LoRA on the whole model"
        )
    return get_quantization_config(model)


def peft_of(model: ModelConfig) -> Any:
    """TRL's LoRA config, None where none is asked for."""
    modules = model.lora_target_modules
    # TRL takes a list of one for a pattern, which must match the whole path of a module.
    if isinstance(modules, str) and modules.isidentifier():
        model.lora_target_modules = [modules]
    return get_peft_config(model)


def model_for_trl(
    name: str, adapter: AdapterArguments, model: ModelConfig, args: Any
) -> dict[str, Any]:
    """The arguments of TRL's trainers that say what is trained: a model's name and, with LoRA, a
    new adapter; or a model with the adapter that is gone on from.

    Raises:
        InputError: there is no adapter where one should be, or a new one is asked for as well.
    """
    quantization = quantization_of(model, adapter)
    path = adapter.adapter_name_or_path
    if not path:
        return {
            "model": name,
            "quantization_config": quantization,
            "peft_config": peft_of(model),
        }
    if model.use_peft:
        raise InputError("adapter_name_or_path goes on from an adapter: leave out use_peft")
    if path.startswith((".", "/", "~")) and not (Path(path) / "adapter_config.json").is_file():
        raise InputError(f"no adapter at {path} (no adapter_config.json)")
    from peft import PeftModel

    set_seed(args.seed)
    kwargs = {**args.model_init_kwargs, "quantization_config": quantization}
    base = AutoModelForCausalLM.from_pretrained(name, **kwargs)
    # TRL would only warn that a model that is there already takes none.
    args.model_init_kwargs = None
    return {"model": PeftModel.from_pretrained(base, path, is_trainable=True)}
