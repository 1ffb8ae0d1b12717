"""Read a reward model from its folder: its layout, its backbone, and its head in fp32.

Layouts: a sequence classification model; a causal model with a value head, in a separate file
(`value_head.safetensors`, LLaMA-Factory) or among the model's weights (`v_head.*`, TRL; under the
prefix that `value_head_prefix` gives, OpenRLHF); and LoRA adapters. Only safetensors are opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.files import (
    how_made,
    read_json,
    resolve,
    weight_shapes,
)

ADAPTER_FILE = "adapter_config.json"
HEAD = "v_head"  # the name of a value head in TRL and LLaMA-Factory
PLAIN_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")


@dataclass(frozen=True)
class Checkpoint:
    """A reward model as read from its folder.

    `own_forward`: its head has a form of its own, so scores come from the whole model; otherwise
    from `head`, applied to one hidden state of `backbone`. `skips_pad`: the score is read at the
    last token that is not the pad token, as in transformers' classifiers. `made`: how our trainer
    made the head; empty for other models.
    """

    whole: PreTrainedModel
    backbone: PreTrainedModel
    head: torch.nn.Module
    own_forward: bool
    skips_pad: bool
    made: dict[str, Any] = field(default_factory=dict[str, Any])


def adapter_base(folder: Path, base_model: str | None) -> str | None:
    """Return the base model of the adapter in `folder`; None if it holds no adapter.

    Raises:
        ConfigError: the adapter does not name its base.
    """
    about = read_json(folder / ADAPTER_FILE)
    if not about:
        return None
    base = base_model or about.get("base_model_name_or_path")
    if not base:
        raise ConfigError(f"{folder / ADAPTER_FILE} names no base model; set `base_model`")
    return str(base)


def read_checkpoint(
    folder: Path, *, base_model: str | None, trust_remote_code: bool = False
) -> Checkpoint:
    """Return the reward model in `folder`, in fp32 on the CPU.

    Raises:
        ConfigError: it has no head, more than one score, pickled or non-finite weights.
    """
    shapes = weight_shapes(folder)
    base = adapter_base(folder, base_model)
    remote = {"trust_remote_code": trust_remote_code}
    head = {name: shape for name, shape in shapes.items() if name.startswith(_head_prefix(folder))}
    if head:
        checkpoint = _with_value_head(folder, base, head, remote)
    else:
        checkpoint = _classifier(folder, base, shapes, remote)
    checkpoint.whole.eval()
    checkpoint.head.eval()
    refuse_non_finite(folder, _parameters(checkpoint))
    return checkpoint


def _head_prefix(folder: Path) -> str:
    """Return the prefix of a value head's weights: `v_head.`, or the one in OpenRLHF's config.json.

    A classifier trained from an OpenRLHF model keeps that entry, but not its way to read the score.

    Source: OpenRLHF 3c3be62, openrlhf/cli/train_rm.py and models/model.py: the score is read at the
    last token of the attention mask, whatever the padding token.
    """
    about = read_json(folder / "config.json")
    classifier = "ForSequenceClassification" in str(about.get("architectures"))
    return f"{HEAD if classifier else about.get('value_head_prefix', HEAD)}."


def read_tokenizer(
    folder: Path, base_model: str | None, *, pad_token: str | None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model; an adapter without its own uses that of its base.

    Raises:
        ConfigError: there is none, or it has no pad token and none was named.
    """
    has_own = any((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json"))
    base = adapter_base(folder, base_model)
    source = folder if has_own or base is None else resolve(base)
    # AutoTokenizer chooses by model type even if the folder has a plain tokenizer.json.
    saved = read_json(source / "tokenizer_config.json").get("tokenizer_class")
    reader: Any = PreTrainedTokenizerFast if saved in PLAIN_TOKENIZERS else AutoTokenizer
    try:
        tokenizer: PreTrainedTokenizerBase = reader.from_pretrained(
            source, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"no tokenizer can be read from {source}: {error}") from error
    if pad_token is not None:
        if tokenizer.convert_tokens_to_ids(pad_token) in (None, tokenizer.unk_token_id):
            raise ConfigError(f"pad_token {pad_token!r} is not in the tokenizer's vocabulary")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token_id is None:
        raise ConfigError(
            f"the tokenizer in {source} has no pad token; scores can depend on the one used in "
            "training, so set it: `pad_token: …` in the profile or in tokenizer_config.json"
        )
    return tokenizer


def _with_value_head(
    folder: Path, base: str | None, head: dict[str, tuple[int, ...]], remote: dict[str, Any]
) -> Checkpoint:
    if base is None:
        whole = read_model(AutoModel, folder, remote)
    else:
        causal = _adapted(AutoModelForCausalLM, folder, base, remote)
        whole = getattr(causal, causal.base_model_prefix)
    linear = _linear_head(folder, head)
    hidden = text_config(whole).hidden_size
    if linear.in_features != hidden:
        raise ConfigError(
            f"the value head in {folder} reads {linear.in_features} numbers, the model has {hidden}"
        )
    return Checkpoint(whole, whole, linear, own_forward=False, skips_pad=False)


def _linear_head(folder: Path, shapes: dict[str, tuple[int, ...]]) -> torch.nn.Linear:
    weights = [name for name in shapes if name.endswith("weight")]
    if len(weights) != 1 or len(shapes[weights[0]]) != 2 or shapes[weights[0]][0] != 1:
        raise ConfigError(
            f"the value head in {folder} is {shapes}; expected one linear layer of one output, "
            "v_head.summary.weight (1, hidden) with or without a bias"
        )
    bias = weights[0].removesuffix("weight") + "bias"
    head = torch.nn.Linear(shapes[weights[0]][1], 1, bias=bias in shapes)
    with torch.no_grad():
        head.weight.copy_(_tensor(folder, weights[0]))
        if bias in shapes:
            head.bias.copy_(_tensor(folder, bias))
    return head


def _tensor(folder: Path, name: str) -> torch.Tensor:
    for path in sorted(folder.glob("*.safetensors")):
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            if name in file.keys():  # noqa: SIM118  (not a mapping)
                return file.get_tensor(name).float()
    raise KeyError(name)


def _classifier(
    folder: Path, base: str | None, shapes: dict[str, tuple[int, ...]], remote: dict[str, Any]
) -> Checkpoint:
    heads = [n for n in shapes if n.endswith(("score.weight", "classifier.weight"))]
    heads += [n for n in shapes if n.endswith(("classifier.out_proj.weight", "value_head.weight"))]
    if not heads:
        raise ConfigError(
            f"model folder {folder} has no head: neither v_head.* nor a classification head is "
            "among its weights, so it is a language model, not a reward model"
        )
    outputs = shapes[heads[0]][0]
    made = how_made(folder)
    if outputs != (2 if made.get("loss") == "disco" else 1):
        raise ConfigError(
            f"{heads[0]} in {folder} has {outputs} outputs; a reward model has one, or a mean and "
            "a variance if its config.json says `reward_head: {loss: disco}`"
        )
    remote = {**remote, "num_labels": outputs}
    auto = AutoModelForSequenceClassification
    whole = (
        read_model(auto, folder, remote) if base is None else _adapted(auto, folder, base, remote)
    )
    backbone = getattr(whole, whole.base_model_prefix)
    head = getattr(whole, "score", None)
    if isinstance(head, torch.nn.Linear):
        # Transformers' classifiers skip trailing padding; our trainer reads at the last token.
        skips_pad = not made
        return Checkpoint(whole, backbone, head.float(), False, skips_pad=skips_pad, made=made)
    return Checkpoint(whole, backbone, whole, own_forward=True, skips_pad=False)


def read_model(
    auto: Any, folder: Path, options: dict[str, Any], unused: tuple[str, ...] = ()
) -> PreTrainedModel:
    """Return the model in `folder` in fp32 on the CPU; weights whose name begins with one of
    `unused` may be missing.

    Raises:
        ConfigError: it cannot be read, or weights are missing.
    """
    try:
        model, about = auto.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(f"model folder {folder} cannot be read: {error}") from error
    lacking = [*about["missing_keys"], *about.get("mismatched_keys", ())]
    missing = sorted(name for name in map(str, lacking) if not name.startswith(unused))
    if missing:
        raise ConfigError(
            f"model folder {folder} lacks weights that {type(model).__name__} needs: "
            f"{', '.join(missing[:3])}; random weights would give meaningless scores"
        )
    return model


def _adapted(auto: Any, folder: Path, base: str, options: dict[str, Any]) -> PreTrainedModel:
    """Return the base model with the adapter's weights merged in."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ConfigError("this model is an adapter, which needs peft; pip install peft") from error
    source = resolve(base)
    weight_shapes(source)
    try:
        model = auto.from_pretrained(source, dtype=torch.float32, use_safetensors=True, **options)
        peft_model: Any = PeftModel  # its methods' types are partly unknown
        adapted = peft_model.from_pretrained(model, str(folder))
        return adapted.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(f"adapter {folder} does not fit base {source}: {error}") from error


def refuse_non_finite(folder: Path, named: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Check that no weights are NaN or infinite, which would make every score NaN.

    Raises:
        ConfigError: some are.
    """
    bad = [name for name, weight in named if not bool(torch.isfinite(weight).all())]
    if bad:
        raise ConfigError(
            f"model folder {folder}: {len(bad)} weights hold NaN or infinity, "
            f"{', '.join(bad[:3])} among them; the training that wrote them diverged"
        )


def _parameters(checkpoint: Checkpoint) -> Iterator[tuple[str, torch.Tensor]]:
    yield from checkpoint.whole.named_parameters()
    if not checkpoint.own_forward and not checkpoint.skips_pad:  # a separate value head
        yield from checkpoint.head.named_parameters(prefix="v_head")


def baked_normalization(folder: Path) -> tuple[float, float]:
    """Return the mean and standard deviation of scores in the checkpoint's config.json.

    Raises:
        ConfigError: they are missing, or the deviation is not positive.
    """
    about: dict[str, Any] = read_json(folder / "config.json")
    try:
        mean, std = float(about["mean"]), float(about["std"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"normalize is set, but {folder / 'config.json'} has no numbers `mean` and `std`"
        ) from error
    if not std > 0:
        raise ConfigError(f"{folder / 'config.json'} has std {std}; it must be above 0")
    return mean, std


def text_config(model: PreTrainedModel) -> Any:
    """Return the part of a model's config that describes its text model."""
    return _text_part(model.config)


def _text_part(config: Any) -> Any:
    return config.get_text_config()


def context_tokens(config: PretrainedConfig) -> int | None:
    """Return the most tokens that a model of this config reads; None if it does not say."""
    value = getattr(_text_part(config), "max_position_embeddings", None)
    return int(value) if value else None
