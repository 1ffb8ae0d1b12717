"""Reward models as folders: read any layout, merge adapters, write the plain or value-head layout.

Readable layouts: a base model, a plain `AutoModelForSequenceClassification` folder, a LoRA run's
adapter, OpenRLHF's layout (whose config names the head), and LLaMA-Factory's (a causal model or
adapter, and `value_head.safetensors`). A plain folder stores under `reward_head` in `config.json`
how the model was trained. Nothing is trained here.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    set_seed,
)
from trl.trainer.reward_trainer import suppress_seqcls_warning

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.reward_head import head_facts, name_outputs
from touchstone_rewards.trainer.running.merging import (
    adapter_config,
    base_of,
    fit_embeddings,
    is_adapter,
)

VALUE_HEAD = "value_head.safetensors"
HEAD_WEIGHT, HEAD_BIAS = "v_head.summary.weight", "v_head.summary.bias"
ADAPTER = "adapter_config.json"


def load_reward_model(name: str, outputs: int, seed: int = 0, **kwargs: object) -> PreTrainedModel:
    """Load a model with a head of `outputs` numbers: its own head, or a new one drawn from `seed`.

    Raises:
        InputError: the model's own head has another number of outputs.
    """
    # Seed first: a new head is drawn while the model is loaded.
    set_seed(seed)
    if (Path(name) / VALUE_HEAD).is_file():
        _check_outputs(name, 1, outputs)
        return _from_value_head(Path(name), **kwargs)
    if is_adapter(name) and adapter_config(name).get("task_type") != "SEQ_CLS":
        model = _merged_body(Path(name), outputs, **kwargs)
        name_outputs(model.config, outputs)
        return model
    if is_adapter(name):
        raise InputError(
            f"{name} is the adapter of a reward model: make it plain with `trainer convert` first"
        )
    config = AutoConfig.from_pretrained(name, revision=kwargs.get("revision"))
    if is_openrlhf(config):
        _check_outputs(name, 1, outputs)
        return _from_openrlhf(name, config.value_head_prefix, **kwargs)
    if is_reward_model(config):
        _check_outputs(name, config.num_labels, outputs)
    model = _classifier(name, outputs, **kwargs)
    name_outputs(model.config, outputs)
    return model


def is_reward_model(config: Any) -> bool:
    """Return whether the config belongs to a model with a classification head."""
    return any("SequenceClassification" in each for each in config.architectures or ())


def is_openrlhf(config: Any) -> bool:
    """Return whether the config belongs to a reward model saved by OpenRLHF.

    Source: OpenRLHF 3c3be62, openrlhf/cli/train_rm.py and models/model.py.
    """
    named = getattr(config, "value_head_prefix", None) is not None
    return named and "RewardModel" in (config.architectures or ())


def _from_openrlhf(name: str, head: str, **kwargs: object) -> Any:
    """Load an OpenRLHF reward model as a plain one.

    OpenRLHF ends every text with the end-of-text token and reads the score there, whatever the
    padding token; the config records this for us and for the server.
    """
    weight = _read_weight(Path(name), f"{head}.weight")
    model = _classifier(name, 1, **kwargs)
    with torch.no_grad():
        model.score.weight.copy_(weight)
    name_outputs(model.config, 1)
    model.config.reward_head = {"loss": "pairwise", "append_eos": True}
    return model


def _read_weight(folder: Path, name: str) -> Tensor:
    """Return one tensor of the folder's safetensors files.

    Raises:
        InputError: no file has it.
    """
    for path in sorted(folder.glob("*.safetensors")):
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            if name in set(file.keys()):
                return file.get_tensor(name)
    raise InputError(f"{folder} has no safetensors with {name}, which its config.json names")


def _check_outputs(name: str, has: int | None, wanted: int) -> None:
    if has != wanted:
        raise InputError(
            f"{name} has a head with {has} outputs, but the chosen loss needs {wanted}: start from "
            "its base model, or choose the other loss"
        )


def _classifier(name: str | Path, outputs: int, **kwargs: object) -> Any:
    with suppress_seqcls_warning():
        return AutoModelForSequenceClassification.from_pretrained(
            name, num_labels=outputs, **kwargs
        )


def _from_value_head(folder: Path, **kwargs: object) -> Any:
    """Load a value-head checkpoint as a plain model; the head's bias is stored in the config."""
    weight, bias = read_value_head(folder)
    if (folder / ADAPTER).is_file():
        model = _merged_body(folder, 1, **kwargs)
    else:
        model = _classifier(folder, 1, **kwargs)
    with torch.no_grad():
        model.score.weight.copy_(weight)
    name_outputs(model.config, 1)
    model.config.reward_head = {"loss": "pairwise", "bias": bias}
    return model


def _merged_body(folder: Path, outputs: int, **kwargs: object) -> Any:
    """Merge a causal adapter into its base, and return the result as a classifier."""
    from peft import PeftModel

    base = base_of(str(folder))
    causal = AutoModelForCausalLM.from_pretrained(base, **kwargs)
    fit_embeddings(causal, str(folder))
    merged: Any = PeftModel.from_pretrained(causal, str(folder)).merge_and_unload()
    model = _classifier(base, outputs, **kwargs)
    model.resize_token_embeddings(merged.get_input_embeddings().weight.shape[0])
    model.base_model.load_state_dict(merged.base_model.state_dict())
    # An adapter trained on this model must refer to this folder, not to the base.
    model.name_or_path = model.config._name_or_path = str(folder)
    return model


def read_value_head(folder: Path) -> tuple[Float[Tensor, "1 h"], float]:
    """Return weight and bias of `value_head.safetensors`.

    Raises:
        InputError: the file does not contain a value head.
    """
    tensors = load_file(folder / VALUE_HEAD)
    if HEAD_WEIGHT not in tensors:
        raise InputError(f"{folder / VALUE_HEAD} has no {HEAD_WEIGHT}; it has {list(tensors)}")
    bias = tensors.get(HEAD_BIAS)
    return tensors[HEAD_WEIGHT], 0.0 if bias is None else float(bias)


def write_value_head(folder: Path, output: Path) -> None:
    """Write the plain reward model in `folder` in LLaMA-Factory's layout.

    Raises:
        InputError: the model has no single score to export.
    """
    config = AutoConfig.from_pretrained(folder)
    if not is_reward_model(config):
        raise InputError(
            f"{folder} is a {' or '.join(config.architectures or ['model'])}, not a reward model: "
            "`trainer rm` trains one"
        )
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype="auto")
    _check_outputs(str(folder), model.config.num_labels, 1)
    bias = head_facts(model.config).get("bias", 0.0)
    causal: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    if not causal.config.tie_word_embeddings:
        # Zero the language-modelling head: a reward model has none, and no score depends on it.
        torch.nn.init.zeros_(causal.lm_head.weight)
    causal.config.__dict__.pop("reward_head", None)
    name_outputs(causal.config, 1)
    causal.save_pretrained(output)
    AutoTokenizer.from_pretrained(folder).save_pretrained(output)
    head = {
        HEAD_WEIGHT: model.score.weight.detach().float().contiguous(),
        HEAD_BIAS: torch.tensor([bias], dtype=torch.float32),
    }
    save_file(head, output / VALUE_HEAD, metadata={"format": "pt"})


def write_plain(folder: Path, output: Path) -> None:
    """Write a value-head checkpoint, or the adapter of a LoRA run, as a plain reward model."""
    if (folder / VALUE_HEAD).is_file():
        model = _from_value_head(folder, dtype="auto")
    else:
        model = _merged(folder)
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(folder).save_pretrained(output)


def _merged(adapter: Path) -> Any:
    """Merge a reward model's adapter into its base.

    The base is loaded again, so that sharding or quantization in training does not affect the
    result.
    """
    from peft import PeftConfig, PeftModel

    base_path = str(PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path)
    config: Any = AutoConfig.from_pretrained(adapter)
    base: Any = load_reward_model(base_path, config.num_labels, dtype=config.dtype)
    if base.config.vocab_size != config.vocab_size:
        base.resize_token_embeddings(config.vocab_size)
    model: Any = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    model.config = config
    return model


def write_moments(folder: Path, scores: Sequence[float]) -> tuple[float, float]:
    """Write mean and standard deviation (n - 1) of `scores` into `folder/config.json`, and return
    both.

    The reward server and OpenRLHF read them there as `mean` and `std`.

    Source: `--normalize_reward` of OpenRLHF's reward model trainer.
    """
    path = folder / "config.json"
    mean, std = statistics.fmean(scores), max(statistics.stdev(scores), 1e-8)
    content = json.loads(path.read_text(encoding="utf-8")) | {"mean": mean, "std": std}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return mean, std


def put_adapter_aside(folder: Path) -> Path:
    """Move an adapter into `folder/adapter`, so that a full model can take its place.

    Otherwise it would be loaded on top of the model into which it is already merged.
    """
    aside = folder / "adapter"
    aside.mkdir(exist_ok=True)
    for path in folder.glob("adapter_*"):
        shutil.move(path, aside / path.name)
    for path in folder.iterdir():
        if path.name == "config.json" or "token" in path.name or path.suffix == ".jinja":
            shutil.copy(path, aside / path.name)
    return aside
